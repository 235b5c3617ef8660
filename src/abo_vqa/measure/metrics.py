"""From generated texts to scores: normalisation, exact match, macro-F1, BERTScore means, per question type."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abo_vqa.errors import InputError
from abo_vqa.questions.parse import fold

_NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
)
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS.split())}
BERTSCORE = ("bertscore_precision", "bertscore_recall", "bertscore_f1")
# What is a mean over questions, and so must agree between the rows by type and the total; macro-F1 is none.
_MEANS = ("accuracy", "unparsable", *BERTSCORE)

Row = dict[str, float]
Summary = dict[str, dict[str, Any]]


class PairScorer(Protocol):
    """Anything that scores predictions against answers, such as measure.bertscore.BertScorer."""

    def score(self, predictions: Sequence[str], answers: Sequence[str]) -> NDArray[np.float64]:
        """Return precision, recall and F1 of each pair, of shape (pairs, 3)."""
        ...


def normalise(text: str) -> str:
    """Return the one spelling in which answers are compared.

    The first line only; lower case; without outer white space and punctuation, single spaces inside (as the
    questions were folded); a number word that is the whole answer, zero to twenty, becomes digits.
    """
    lines = text.strip().splitlines()
    folded = fold(lines[0]) if lines else ""
    return _DIGITS.get(folded, folded)


def exact_match(prediction: str, answer: str) -> bool:
    """Return whether prediction and answer are the same after normalisation; an empty prediction never is."""
    normalised = normalise(prediction)
    return normalised != "" and normalised == normalise(answer)


def macro_f1(predictions: Sequence[str], answers: Sequence[str]) -> float:
    """Return the mean F1 over the classes that occur among the gold answers (scikit-learn, f1_score).

    A prediction outside them is a miss of its gold class but adds no class of its own to the mean, so that a
    model is not punished twice for inventing words.
    """
    # Imported here: scikit-learn takes two seconds, and not every stage that imports this module scores.
    from sklearn.metrics import f1_score

    return float(
        f1_score(list(answers), list(predictions), labels=sorted(set(answers)), average="macro", zero_division=0)
    )


def score_answers(
    rows: Sequence[Mapping[str, Any]], generated: Sequence[str], condition: str, scorer: PairScorer
) -> pd.DataFrame:
    """Return one row of tables/predictions per question: the generated text, what it says, and its scores.

    rows: questions with qa_id, image_id, question_type, answer, options. Raises InputError if `generated` is
    not one text per question.
    """
    if len(rows) != len(generated):
        raise InputError(f"condition {condition}: {len(generated)} generated texts for {len(rows)} questions")
    predictions = [normalise(text) for text in generated]
    answers = [normalise(row["answer"]) for row in rows]
    table = pd.DataFrame(
        {
            "qa_id": [row["qa_id"] for row in rows],
            "image_id": [row["image_id"] for row in rows],
            "question_type": [row["question_type"] for row in rows],
            "condition": condition,
            "answer": [row["answer"] for row in rows],
            "options": [list(row["options"]) for row in rows],
            "generated": list(generated),
            "prediction": predictions,
            "correct": np.array([exact_match(*pair) for pair in zip(predictions, answers, strict=True)], bool),
        }
    )
    scores = scorer.score(predictions, answers)
    return table.assign(**{name: scores[:, column] for column, name in enumerate(BERTSCORE)})


def summarise(predictions: pd.DataFrame) -> Summary:
    """Return {condition: {"total": row, "by_type": {question type: row}}}; types without a question are left out.

    A row holds n, accuracy, macro_f1, the means of BERTScore's three values and `unparsable`, the share of
    predictions that are none of the options (condition `open`: empty).
    """
    table = predictions.assign(unparsable=[_is_unparsable(row) for row in predictions.to_dict("records")])
    return {
        str(condition): {
            "total": _row(part),
            "by_type": {str(kind): _row(rows) for kind, rows in part.groupby("question_type")},
        }
        for condition, part in table.groupby("condition")
    }


def check_micro_average(summary: Summary, tolerance: float = 1e-9) -> None:
    """Raise InputError unless the rows by type add up to their total: counts exactly, means weighted by count."""
    for condition, group in summary.items():
        total, rows = group["total"], list(group["by_type"].values())
        counted = sum(row["n"] for row in rows)
        if counted != total["n"]:
            raise InputError(f"{condition}: the rows by type hold {counted:g} questions, the total {total['n']:g}")
        for name in _MEANS:
            pooled = sum(row["n"] * row[name] for row in rows) / counted
            if abs(pooled - total[name]) > tolerance:
                raise InputError(f"{condition}: {name} is {total[name]:g}, but its rows average to {pooled:g}")


def flatten(summary: Summary) -> dict[str, float]:
    """Return the summary under flat names: options/accuracy, options/color/accuracy, options/yes_no/n."""
    flat: dict[str, float] = {}
    for condition, group in summary.items():
        rows = {condition: group["total"]}
        rows |= {f"{condition}/{kind.replace('/', '_')}": row for kind, row in group["by_type"].items()}
        flat |= {f"{prefix}/{name}": float(value) for prefix, row in rows.items() for name, value in row.items()}
    return flat


def _is_unparsable(row: Mapping[Any, Any]) -> bool:
    if row["condition"] == "open":
        return row["prediction"] == ""
    return row["prediction"] not in {normalise(option) for option in row["options"]}


def _row(part: pd.DataFrame) -> Row:
    answers = [normalise(answer) for answer in part["answer"]]
    means = {name: float(part[name].mean()) for name in ("unparsable", *BERTSCORE)}
    accuracy = float(part["correct"].mean())
    return {"n": len(part), "accuracy": accuracy, "macro_f1": macro_f1(list(part["prediction"]), answers)} | means
