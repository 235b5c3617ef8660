"""Names and types that stages share: question types, splits, raw outputs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

YES_NO, COLOR, MATERIAL, SHAPE = "yes/no", "color", "material", "shape"
COUNTING, COMPARISON, ATTRIBUTE = "counting", "comparison", "attribute"
EXISTENTIAL = "existential"


class QuestionType(NamedTuple):
    """A question type by which results are reported.

    kind: the generators' name for such questions. subject: pattern that a question of this type matches; a row without
    one takes the questions of its kind that match no other row's. live: how many options the question itself leaves
    open, the others being fillers; None: all.
    """

    name: str
    kind: str
    subject: re.Pattern[str] | None = None
    live: int | None = None


# The only list of question types; a new type is a row here.
QUESTION_TYPES = {
    found.name: found
    for found in (
        QuestionType(YES_NO, EXISTENTIAL, live=2),
        QuestionType(COLOR, ATTRIBUTE, re.compile(r"\bcolou?r", re.IGNORECASE)),
        QuestionType(MATERIAL, ATTRIBUTE, re.compile(r"\b(?:materials?|made (?:of|from|out)|fabric)\b", re.IGNORECASE)),
        QuestionType(SHAPE, ATTRIBUTE, re.compile(r"\bshaped?\b", re.IGNORECASE)),
        QuestionType(COUNTING, COUNTING),
        # Of two things one.
        QuestionType(COMPARISON, COMPARISON, live=2),
        QuestionType(ATTRIBUTE, ATTRIBUTE),
    )
}
TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
# Questions of each kind that the paper asks per image (section 3.1).
COMPOSITION = {EXISTENTIAL: 1, ATTRIBUTE: 2, COUNTING: 1, COMPARISON: 1}


# Conditions of the audit, as in reports/audit.json, and its reference rows: the score of guessing, and the best
# possible one.
OPTIONS, MATCHED, OPEN = "options", "matched", "open"
CROSS_FITTED = "cross_fitted"
REFERENCES = CHANCE, CEILING = "chance", "ceiling"


@dataclass(frozen=True)
class RawOutput:
    """A generator's output for one image: text that should contain questions (paper, section 3.1).

    seed: seed of its random draws; None for outputs recorded elsewhere. model: id or folder of the model. prompt:
    digest of its prompt. Both are None without a model, or if not recorded. opinions: a second model's answers by the
    place of the question in the output; None if none was asked.
    """

    product_id: str
    image_path: str
    generator: str
    seed: int | None
    output: str
    model: str | None = None
    prompt: str | None = None
    opinions: Mapping[str, str] | None = None


def guessed(question_type: str, options: int) -> float:
    """Return the chance of a guess among the live options of a question that shows that many options."""
    found = QUESTION_TYPES.get(question_type)
    return 1 / min(options, found.live if found and found.live else options)


def best_baseline(report: Mapping[str, Any], condition: str) -> str:
    """Return the name of the text-only baseline that scores highest on the test split; report: the audit's."""
    rows = {name: row["total"] for name, row in report[TEST][condition].items() if name not in REFERENCES}
    return max(rows, key=lambda name: (rows[name]["accuracy"], name))
