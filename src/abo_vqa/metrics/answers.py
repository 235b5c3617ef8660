"""Metrics of answers: exact match, F1, BERTScore, option ranking, calibration; in total and by type."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import RANKED
from abo_vqa.common.schema import guessed
from abo_vqa.common.words import normalize

BERTSCORE = ("bertscore_precision", "bertscore_recall", "bertscore_f1")
RESCALED = tuple(f"{name}_rescaled" for name in BERTSCORE)
# Rankings of the options: by summed log-probability, per token, or minus the prior log-probability.
RANKED_PER_TOKEN, RANKED_PMI = "ranked_per_token", "ranked_pmi"
RANKINGS = (RANKED, RANKED_PER_TOKEN, RANKED_PMI)
_BINS = 10

Row = dict[str, float]
Summary = dict[str, dict[str, Any]]


class PairScorer(Protocol):
    """A scorer of predictions against answers, such as metrics.bertscore.BertScorer."""

    def score(self, predictions: Sequence[str], answers: Sequence[str]) -> NDArray[np.float64]:
        """Return precision, recall and F1 of each pair, of shape (pairs, 3)."""
        ...


def exact_match(prediction: str, answer: str) -> bool:
    """Return whether prediction and answer are equal after normalization; an empty prediction never is."""
    normalized = normalize(prediction)
    return normalized != "" and normalized == normalize(answer)


def macro_f1(predictions: Sequence[str], answers: Sequence[str]) -> float:
    """Return the mean F1 over the classes of the gold answers (scikit-learn, f1_score).

    A prediction outside these classes is a miss of its gold class and adds no class to the mean, so that invented words
    are not penalized twice.
    """
    # Imported here: scikit-learn takes two seconds, which not every importer of this module needs.
    from sklearn.metrics import f1_score

    return float(
        f1_score(list(answers), list(predictions), labels=sorted(set(answers)), average="macro", zero_division=0)
    )


def token_f1(prediction: str, answer: str) -> float:
    """Return the F1 of the words that two normalized texts share (SQuAD's, Rajpurkar et al. 2016)."""
    said, right = prediction.split(), answer.split()
    shared = (Counter(said) & Counter(right)).total()
    return 2 * shared / (len(said) + len(right)) if shared else 0.0


# Metrics of one answer: prediction and right answer, both normalized, to a score. To add one, add an entry: it appears
# in reports/scores.json, reports/comparison.json and MLflow.
ANSWER_METRICS: dict[str, Callable[[str, str], float]] = {
    "token_f1": token_f1,
}
# Means over questions, so that the rows by type must average to the total; macro-F1 and ECE need not.
_OF_OPTIONS = (*RANKINGS, "chance")  # of questions with options
MEANS = ("accuracy", "unparsable", *ANSWER_METRICS, *BERTSCORE, *RESCALED, *_OF_OPTIONS)


def score_answers(answers: pd.DataFrame, scorer: PairScorer, model: str = "the model") -> pd.DataFrame:
    """Return one row of tables/predictions per answer, in their order.

    answers: as inference.ask.ask_all returns them; model: its name in errors. A question is correct if it is answered
    right in every order of the options, and ranked right only if the right option is first in every order and alone:
    a tie counts as wrong. Other scores are means over the orders. gold and prediction: the right and the given answer,
    normalized; prediction is empty if the orders disagree. picked: the index of the option answered in the first order,
    -1 if none. probabilities: of each option, that it is chosen in every order, estimated by its least probability over
    the orders (an upper bound, reached if the orders decide together); with one order they sum to 1. A question without
    options has no probabilities, the answer_index -1, and None for each ranking. Raises InputError if a log-probability
    is not finite.
    """
    for row in answers.to_dict("records"):
        _check_finite(row, model)
    parts = [_score_condition(part, scorer) for _, part in answers.groupby("condition", sort=False)]
    return pd.concat(parts, ignore_index=True)


def answer_pairs(answers: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Return the given and the right answers, normalized: one of each for every order of every row."""
    said = [normalize(text) for generated in answers["generated"] for text in generated]
    right = [normalize(answer) for answer in answers["answer"]]
    return said, np.repeat(right, answers["generated"].map(len)).tolist()


def _score_condition(answers: pd.DataFrame, scorer: PairScorer) -> pd.DataFrame:
    table = pd.DataFrame([_scored(row) for row in answers.to_dict("records")])
    said, right = answer_pairs(answers)
    orders = [len(generated) for generated in answers["generated"]]
    starts = np.cumsum([0, *orders[:-1]])
    scores = np.add.reduceat(scorer.score(said, right), starts) / np.array(orders)[:, None]
    floor = baseline(sorted(set(right)), scorer)
    columns = dict(zip(BERTSCORE, scores.T, strict=True))
    return table.assign(**columns, **dict(zip(RESCALED, ((scores - floor) / (1 - floor)).T, strict=True)))


def baseline(answers: Sequence[str], scorer: PairScorer) -> NDArray[np.float64]:
    """Return BERTScore's floor, of shape (3,): the mean over pairs of different answers, each with the next five.

    bert-score also rescales by a mean over random pairs, but provides it for few encoders only.
    """
    pairs = [(one, answers[(place + step) % len(answers)]) for place, one in enumerate(answers) for step in range(1, 6)]
    different = [pair for pair in pairs if pair[0] != pair[1]]
    if not different:
        return np.zeros(3)
    return scorer.score(*map(list, zip(*different, strict=True))).mean(axis=0)


def _scored(row: Mapping[Any, Any]) -> dict[str, Any]:
    right, options = normalize(row["answer"]), list(row["options"])
    said = [normalize(text) for text in row["generated"]]
    allowed = [normalize(option) for option in options]
    gold = options.index(row["answer"]) if options else -1
    return {
        "qa_id": row["qa_id"],
        "image_id": row["image_id"],
        "image_group": row["image_group"],
        "shown_image": row["shown_image"],
        "question_type": row["question_type"],
        "condition": row["condition"],
        "answer": row["answer"],
        "options": options,
        "answer_index": gold,
        "shown": bool(row["shown"]),
        "generated": list(row["generated"]),
        "gold": right,
        "prediction": said[0] if len(set(said)) == 1 else "",
        "picked": allowed.index(said[0]) if said[0] in allowed else -1,
        "correct": all(one == right for one in said) and right != "",
        "unparsable": any(one not in allowed if row["shown"] else one == "" for one in said),
        **{name: float(np.mean([metric(one, right) for one in said])) for name, metric in ANSWER_METRICS.items()},
        **(_ranked(row, gold) if options else {"probabilities": [], **dict.fromkeys(RANKINGS)}),
    }


def _ranked(row: Mapping[Any, Any], gold: int) -> dict[str, Any]:
    """Return the options' probabilities, and whether the right one, at the index gold, is first in each ranking."""
    scores = _floats(row["log_probabilities"])
    ranked = {
        RANKED: scores,
        RANKED_PER_TOKEN: scores / np.array([list(lengths) for lengths in row["lengths"]]),
        RANKED_PMI: scores - np.array(row["prior"]),
    }
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    return {
        "probabilities": (chances / chances.sum(axis=1, keepdims=True)).min(axis=0).round(6).tolist(),
        **{name: _is_first(gold, values) for name, values in ranked.items()},
    }


def _is_first(option: int, scores: NDArray[np.float64]) -> bool:
    """Return whether an option scores more than any other in every order; scores: (orders, options)."""
    others = np.delete(scores, option, axis=1).max(axis=1, initial=-np.inf)
    return bool((scores[:, option] > others).all())


def _check_finite(row: Mapping[Any, Any], model: str) -> None:
    for scores in _floats([*row["log_probabilities"], row["prior"]]):
        for option, score in zip(row["options"], scores, strict=True):
            if not np.isfinite(score):
                raise InputError(
                    f"{model}: question {row['qa_id']} under {row['condition']}: the log-probability of {option!r} is "
                    f"{score}, not finite; the model's numbers overflow: set model.quantization.compute_dtype to "
                    "bfloat16 or float32 and run `dvc repro`"
                )


def _floats(rows: Iterable[Iterable[Any]]) -> NDArray[np.float64]:
    # From lists: Parquet has None in place of a nested NaN.
    return np.array([list(values) for values in rows], float)


def summarize(predictions: pd.DataFrame) -> Summary:
    """Return {condition: {"total": row, "by_type": {question type: row}}}; types without questions are left out.

    A row has n, macro_f1, ece, and the means of MEANS: accuracy of the generated answers and of the three rankings,
    unparsable (share of predictions that are none of the shown options, or empty if none is shown), and chance (of a
    guess among the live options, common.schema.guessed). Rankings, ece and chance are of the questions with options,
    and left out where no question has any. "by_position", beside "total", has n and accuracy by position of the right
    option.
    """
    found: Summary = {}
    for condition, part in predictions.groupby("condition", sort=False):
        by_type = {str(kind): _row(rows) for kind, rows in part.groupby("question_type")}
        shown = part[part["shown"]]
        found[str(condition)] = {
            "total": _row(part),
            "by_type": by_type,
            "by_position": {str(place): _position(rows) for place, rows in shown.groupby("answer_index")},
        }
    return found


def calibration(probabilities: Sequence[Sequence[float]], correct: Sequence[bool]) -> pd.DataFrame:
    """Return confidence, accuracy and share of each non-empty one of ten equal-width bins of confidence.

    probabilities, correct: the columns `probabilities` and `ranked` of score_answers, which are about one event: the
    likeliest option is chosen, and right, in every order. Confidence and accuracy are means in the bin, share is its
    share of the questions.
    """
    confidence = np.array([max(row) for row in probabilities])
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    grouped = pd.DataFrame({"confidence": confidence, "accuracy": np.asarray(correct, float)}).groupby(bins)
    return grouped.mean().assign(share=grouped.size() / len(confidence)).reset_index(drop=True)


def expected_calibration_error(probabilities: Sequence[Sequence[float]], correct: Sequence[bool]) -> float:
    """Return the mean gap between confidence and accuracy over the bins of `calibration` (Guo et al. 2017)."""
    bins = calibration(probabilities, correct)
    return float(((bins["accuracy"] - bins["confidence"]).abs() * bins["share"]).sum())


def check_micro_average(summary: Summary, tolerance: float = 1e-9) -> None:
    """Raise InputError unless the rows by type aggregate to their total: counts exactly, means weighted by count."""
    for condition, group in summary.items():
        total, rows = group["total"], list(group["by_type"].values())
        counted = sum(row["n"] for row in rows)
        if counted != total["n"]:
            raise InputError(f"{condition}: the rows by type have {counted:g} questions, the total {total['n']:g}")
        for name in MEANS:
            pooled = sum(row["n"] * row[name] for row in rows) / counted
            if abs(pooled - total[name]) > tolerance:
                raise InputError(f"{condition}: {name} is {total[name]:g}, but its rows average to {pooled:g}")


def _position(rows: pd.DataFrame) -> Row:
    return {"n": len(rows), "accuracy": float(rows["correct"].mean()), RANKED: float(rows[RANKED].mean())}


def _row(part: pd.DataFrame) -> Row:
    row = {"n": len(part), "macro_f1": macro_f1(list(part["prediction"]), list(part["gold"]))}
    row |= _means(part.assign(accuracy=part["correct"]), [name for name in MEANS if name not in _OF_OPTIONS])
    ranked = part[part["options"].map(len) > 0]
    if ranked.empty:
        return row
    chance = [guessed(kind, len(shown)) for kind, shown in zip(ranked["question_type"], ranked["options"], strict=True)]
    row["ece"] = expected_calibration_error(list(ranked["probabilities"]), list(ranked[RANKED]))
    return row | _means(ranked.assign(chance=chance), _OF_OPTIONS)


def _means(table: pd.DataFrame, names: Sequence[str]) -> Row:
    return {name: float(table[name].mean()) for name in names}
