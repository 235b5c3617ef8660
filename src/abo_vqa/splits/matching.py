"""Options and questions chosen so that the text does not tell the answer (DESIGN.md, "How `matched` works").

Let p be the probabilities of the answers given the text, and t the largest number with sum min(p, t) >= n t. A question
with gold answer g is kept with probability min(1, t / p_g), and n options including g are drawn such that answer i is
among them with probability min(p_i, t) / t (systematic sampling in random order, Madow 1949). Then

    P(g is gold, the question is kept, S are its options) = p_g * min(1, t / p_g) * P(S) * t / min(p_g, t) = t P(S)

is the same for every g in S: if p is right, the options are exchangeable given the text. The share kept is n t, and no
way to make them exchangeable keeps more: where each of n options is gold in a share w of all questions, an answer
cannot be gold in more than min(p, w), and these sum to n w.

Where the answers are few, as yes and no are, the question is only subsampled, with n = 2: no answer is then more than
half likely given the text. It keeps the options it has, which count as text; yes/no questions get the same two fillers
throughout, since a generator chose its fillers after the answer.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abo_vqa.common.draws import derive_rng
from abo_vqa.common.params.data import MatchingParams
from abo_vqa.common.schema import TRAIN, YES_NO
from abo_vqa.splits.answer_likelihood import Fitted, fit_answers

MATCHED, BALANCED = "matched", "balanced"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Matching:
    """What matching found: the options of each question that is kept, by qa_id; and how it went, by split and type."""

    options: dict[str, tuple[str, ...]]
    report: dict[str, dict[str, dict[str, Any]]]

    def columns(self, row: Row) -> dict[str, Any]:
        """Return the columns `matched_options` (null where the question is not kept) and `balanced` of a question."""
        found = self.options.get(row["qa_id"])
        return {"matched_options": None if found is None else list(found), "balanced": found is not None}


def match_questions(splits: Mapping[str, Sequence[Row]], params: MatchingParams, options: int, seed: int) -> Matching:
    """Choose, in every split, the questions that are kept and their `options` options, for each question type.

    Rows have qa_id, image_group, question_type, question, options, answer. The model of the answers is fitted on the
    split "train": cross-fitted over image groups for its own questions, on all of them for the other splits. A question
    is dropped if its answer is not in the model's vocabulary, or is hardly ever the answer to such a text: its rarity
    would tell. The report has, by split and type, the strategy and how many questions are kept, and for "train" what
    was fitted.
    """
    kept: dict[str, tuple[str, ...]] = {}
    report: dict[str, dict[str, dict[str, Any]]] = {split: {} for split in splits}
    for kind in sorted({row["question_type"] for rows in splits.values() for row in rows}):
        asked = {split: [row for row in rows if row["question_type"] == kind] for split, rows in splits.items()}
        found, fitted = _match_type(asked, kind, params, options, seed)
        for split, rows in asked.items():
            answers = {row["qa_id"]: row["answer"] for row in rows if row["qa_id"] in found}
            rng = derive_rng(seed, "matching", "positions", split, kind)
            kept |= _deal({key: found[key] for key in answers}, answers, rng)
            report[split][kind] = {
                "strategy": BALANCED if kind in params.balanced else MATCHED,
                "questions": len(rows),
                "kept": len(answers),
                "share": float(f"{len(answers) / max(len(rows), 1):.6g}"),
            }
        if fitted is not None:
            report[TRAIN][kind] |= {
                "answers": len(fitted.vocabulary),
                "strength": fitted.strength,
                "log_loss": fitted.log_loss,
            }
    return Matching(kept, report)


def threshold(chances: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return, per row, the largest t with sum min(p, t) >= count * t; 0 where fewer than `count` p are positive.

    chances: p, of shape (questions, answers). With the j largest capped at t the sum is j t and the rest; of all j the
    true one gives the smallest, so t is the smallest of rest / (count - j).
    """
    ordered = -np.sort(-chances, axis=1)
    if (short := count - ordered.shape[1]) > 0:
        ordered = np.pad(ordered, ((0, 0), (0, short)))
    rest = ordered[:, ::-1].cumsum(axis=1)[:, ::-1][:, :count]
    return (rest / (count - np.arange(count))).min(axis=1)


def draw_with(gold: int, chances: NDArray[np.float64], limit: float, count: int, rng: Random) -> list[int]:
    """Draw `count` distinct answers, gold first; answer i is among them with probability min(p_i, limit) / limit.

    Systematic sampling (Madow 1949): the answers lie in random order along a circle, each as long as its probability,
    and are hit by `count` points one apart. Gold is hit, so the circle may as well begin with it.
    """
    others = [int(i) for i in np.flatnonzero(chances) if i != gold]
    rng.shuffle(others)
    lengths = np.minimum(chances, limit) / limit
    ends = lengths[gold] + np.cumsum(lengths[others])
    points = rng.random() * lengths[gold] + np.arange(1, count)
    hit = np.searchsorted(ends, points, side="right")
    # The last end is `count` but for rounding.
    return [gold, *(others[min(int(place), len(others) - 1)] for place in hit)]


def _match_type(
    asked: Mapping[str, Sequence[Row]], kind: str, params: MatchingParams, options: int, seed: int
) -> tuple[dict[str, tuple[str, ...]], Fitted | None]:
    train = asked[TRAIN]
    rows = [*train, *(row for split, part in asked.items() if split != TRAIN for row in part)]
    shown = _balanced_options(rows, train, kind, options) if kind in params.balanced else None
    # What stays as it is may not tell the answer either; the same options everywhere tell nothing.
    texts = [
        " ".join([row["question"], *(f"option={word}" for word in sorted(shown[place]))])
        if shown and kind != YES_NO
        else str(row["question"])
        for place, row in enumerate(rows)
    ]
    fitted = fit_answers(
        texts[: len(train)],
        [row["answer"] for row in train],
        [row["image_group"] for row in train],
        texts[len(train) :],
        params.folds,
        params.least_answers,
    )
    if fitted is None:
        return {}, None
    chances = np.vstack([fitted.cross_fitted, fitted.others])
    if shown:
        chances = chances * [[answer in words for answer in fitted.vocabulary] for words in shown]
    chances = _normalized(np.where(_normalized(chances) < params.least_chance, 0, chances))
    count = 2 if shown else options
    limits = threshold(chances, count)
    place_of = {answer: place for place, answer in enumerate(fitted.vocabulary)}
    found = {}
    for place, (row, chance, limit) in enumerate(zip(rows, chances, limits, strict=True)):
        gold = place_of.get(row["answer"])
        rng = derive_rng(seed, "matching", row["qa_id"])
        if gold is None or limit == 0 or chance[gold] == 0 or rng.random() * chance[gold] >= limit:
            continue
        if shown:
            found[row["qa_id"]] = shown[place]
        else:
            drawn = draw_with(gold, chance, float(limit), options, rng)
            found[row["qa_id"]] = tuple(fitted.vocabulary[answer] for answer in drawn)
    return found, fitted


def _balanced_options(rows: Sequence[Row], train: Sequence[Row], kind: str, options: int) -> list[tuple[str, ...]]:
    """Return what the questions of a balanced type show: their own options, or yes, no and the commonest fillers."""
    if kind != YES_NO:
        return [tuple(row["options"]) for row in rows]
    fillers = Counter(option for row in train for option in row["options"] if option not in ("yes", "no"))
    common = sorted(fillers, key=lambda option: (-fillers[option], option))[: options - 2]
    return [("yes", "no", *common)] * len(rows)


def _normalized(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    total = chances.sum(axis=1, keepdims=True)
    return np.divide(chances, total, out=np.zeros_like(chances), where=total > 0)


def _deal(found: Mapping[str, tuple[str, ...]], answers: Mapping[str, str], rng: Random) -> dict[str, tuple[str, ...]]:
    """Put the gold answers at every position equally often, the others in random order."""
    keys = sorted(found)
    positions = [place % len(found[key]) for place, key in enumerate(keys, rng.randrange(1 << 16))]
    rng.shuffle(positions)
    dealt = {}
    for key, position in zip(keys, positions, strict=True):
        others = sorted(option for option in found[key] if option != answers[key])
        rng.shuffle(others)
        dealt[key] = (*others[:position], answers[key], *others[position:])
    return dealt
