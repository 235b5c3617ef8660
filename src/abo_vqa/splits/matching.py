"""Choose options and questions so that the text does not give the answer away.

Let p be the probabilities of the answers given the text, and t the largest number with sum min(p, t) >= n t. A question
with gold answer g is kept with probability min(1, t / p_g), and n options including g are drawn such that answer i is
among them with probability min(p_i, t) / t (systematic sampling in random order, Madow 1949). Then

    P(g is gold, the question is kept, S are its options) = p_g * min(1, t / p_g) * P(S) * t / min(p_g, t) = t P(S)

is the same for every g in S: if p is right, the options are exchangeable given the text. The share kept is n t, the
largest possible for exchangeable options: if each of n options is gold in a share w of all questions, an answer is gold
in at most min(p, w), and these sum to n w.

Types with few answers, such as yes/no, are only subsampled, with n = 2: no answer is then more than half likely given
the text. A question keeps its options, which count as text. All yes/no questions get the same two fillers, since a
generator chooses its fillers after the answer.
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
from abo_vqa.common.schema import MATCHED, TRAIN, YES_NO
from abo_vqa.splits.answer_likelihood import Fitted, fit_answers

BALANCED = "balanced"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Matching:
    """The options of each kept question by qa_id, and a report by split and type."""

    options: dict[str, tuple[str, ...]]
    report: dict[str, dict[str, dict[str, Any]]]

    def columns(self, row: Row) -> dict[str, Any]:
        """Return the columns `matched_options` (null if the question is not kept) and `balanced` of a question."""
        found = self.options.get(row["qa_id"])
        return {"matched_options": None if found is None else list(found), "balanced": found is not None}


def match_questions(splits: Mapping[str, Sequence[Row]], params: MatchingParams, options: int, seed: int) -> Matching:
    """Choose the questions to keep in every split, and their `options` options, for each question type.

    Rows have qa_id, image_group, question_type, question, options, answer. The answer likelihood is fitted on the split
    "train": cross-fitted over image groups for these questions, on all of them for the other splits. Questions whose
    answer is outside the vocabulary, or too unlikely given the text, are dropped, since a rare answer stands out. The
    report has, by split and type, the strategy and the number of kept questions, and for "train" the fit.
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
    """Return, per row, the largest t with sum min(p, t) >= count * t; 0 if fewer than `count` p are positive.

    chances: p, of shape (questions, answers). With the j largest capped at t, the sum is j t plus the rest. The true j
    minimizes it, so t is the minimum over j of rest / (count - j).
    """
    ordered = -np.sort(-chances, axis=1)
    if (short := count - ordered.shape[1]) > 0:
        ordered = np.pad(ordered, ((0, 0), (0, short)))
    rest = ordered[:, ::-1].cumsum(axis=1)[:, ::-1][:, :count]
    return (rest / (count - np.arange(count))).min(axis=1)


def draw_with(gold: int, chances: NDArray[np.float64], limit: float, count: int, rng: Random) -> list[int]:
    """Draw `count` distinct answers, gold first; answer i is among them with probability min(p_i, limit) / limit.

    Systematic sampling (Madow 1949): the answers lie in random order on a circle, each as long as its probability, and
    `count` points at distance 1 select them. Gold is always selected, so the circle starts with it.
    """
    others = [int(i) for i in np.flatnonzero(chances) if i != gold]
    rng.shuffle(others)
    lengths = np.minimum(chances, limit) / limit
    ends = lengths[gold] + np.cumsum(lengths[others])
    points = rng.random() * lengths[gold] + np.arange(1, count)
    hit = np.searchsorted(ends, points, side="right")
    # Rounding can push the last end below `count`.
    return [gold, *(others[min(int(place), len(others) - 1)] for place in hit)]


def _match_type(
    asked: Mapping[str, Sequence[Row]], kind: str, params: MatchingParams, options: int, seed: int
) -> tuple[dict[str, tuple[str, ...]], Fitted | None]:
    """Return the options of the kept questions of one type, by qa_id, and the fit; no options without a fit."""
    # Train first: the likelihood cross-fits these rows, and `chances` below stacks both parts in the order of `rows`.
    train = asked[TRAIN]
    rows = [*train, *(row for split, part in asked.items() if split != TRAIN for row in part)]
    shown = _balanced_options(rows, train, kind, options) if kind in params.balanced else None
    # Options that a question keeps may give the answer away too, so the likelihood reads them as text. Those of yes/no
    # questions are all the same and carry no information.
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
        # An answer that is not among the options cannot be picked, so its probability goes to the others.
        chances = chances * [[answer in words for answer in fitted.vocabulary] for words in shown]
    # As an option, an answer that is hardly ever gold for such a text would be ruled out by the text alone.
    chances = _normalized(np.where(_normalized(chances) < params.least_chance, 0, chances))
    # Options that stay can only be balanced by dropping questions: with 2, no answer is more than half likely.
    count = 2 if shown else options
    limits = threshold(chances, count)
    place_of = {answer: place for place, answer in enumerate(fitted.vocabulary)}
    found = {}
    for place, (row, chance, limit) in enumerate(zip(rows, chances, limits, strict=True)):
        gold = place_of.get(row["answer"])
        # A generator per question: dropping one must not change the draws of the next.
        rng = derive_rng(seed, "matching", row["qa_id"])
        # Kept with probability t / p_gold, so that likelier answers are gold no more often than t.
        if gold is None or limit == 0 or chance[gold] == 0 or rng.random() * chance[gold] >= limit:
            continue
        if shown:
            found[row["qa_id"]] = shown[place]
        else:
            drawn = draw_with(gold, chance, float(limit), options, rng)
            found[row["qa_id"]] = tuple(fitted.vocabulary[answer] for answer in drawn)
    return found, fitted


def _balanced_options(rows: Sequence[Row], train: Sequence[Row], kind: str, options: int) -> list[tuple[str, ...]]:
    """Return the options of a balanced type's questions: the given ones, or yes, no and the most common fillers."""
    if kind != YES_NO:
        return [tuple(row["options"]) for row in rows]
    fillers = Counter(option for row in train for option in row["options"] if option not in ("yes", "no"))
    common = sorted(fillers, key=lambda option: (-fillers[option], option))[: options - 2]
    return [("yes", "no", *common)] * len(rows)


def _normalized(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    total = chances.sum(axis=1, keepdims=True)
    return np.divide(chances, total, out=np.zeros_like(chances), where=total > 0)


def _deal(found: Mapping[str, tuple[str, ...]], answers: Mapping[str, str], rng: Random) -> dict[str, tuple[str, ...]]:
    """Place the gold answers at every position equally often, and the others in random order."""
    keys = sorted(found)
    positions = [place % len(found[key]) for place, key in enumerate(keys, rng.randrange(1 << 16))]
    rng.shuffle(positions)
    dealt = {}
    for key, position in zip(keys, positions, strict=True):
        others = sorted(option for option in found[key] if option != answers[key])
        rng.shuffle(others)
        dealt[key] = (*others[:position], answers[key], *others[position:])
    return dealt
