"""The vocabulary that stages share: question types, splits, and what a generator returns."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

YES_NO, COLOR, MATERIAL, SHAPE = "yes/no", "color", "material", "shape"
COUNTING, COMPARISON, ATTRIBUTE = "counting", "comparison", "attribute"
EXISTENTIAL = "existential"


class QuestionType(NamedTuple):
    """A type that results are reported by.

    kind: the generators' name for such questions. subject: pattern that a question of this type matches; a row without
    one takes the questions of its kind that match no other row's.
    """

    name: str
    kind: str
    subject: re.Pattern[str] | None = None


# The only list of question types; a new type is a row here.
QUESTION_TYPES = {
    found.name: found
    for found in (
        QuestionType(YES_NO, EXISTENTIAL),
        QuestionType(COLOR, ATTRIBUTE, re.compile(r"\bcolou?r", re.IGNORECASE)),
        QuestionType(MATERIAL, ATTRIBUTE, re.compile(r"\b(?:materials?|made (?:of|from|out)|fabric)\b", re.IGNORECASE)),
        QuestionType(SHAPE, ATTRIBUTE, re.compile(r"\bshaped?\b", re.IGNORECASE)),
        QuestionType(COUNTING, COUNTING),
        QuestionType(COMPARISON, COMPARISON),
        QuestionType(ATTRIBUTE, ATTRIBUTE),
    )
}
TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
# What the paper asks about every image (section 3.1): so many questions of each kind.
COMPOSITION = {EXISTENTIAL: 1, ATTRIBUTE: 2, COUNTING: 1, COMPARISON: 1}


# What the audit scores text-only baselines under, as reports/audit.json names it, and its rows that are no baselines:
# what guessing gives, and what is attainable.
OPTIONS, MATCHED, OPEN = "options", "matched", "open"
CROSS_FITTED = "cross_fitted"
REFERENCES = CHANCE, CEILING = "chance", "ceiling"


@dataclass(frozen=True)
class RawOutput:
    """What a generator said about one image: a text that should hold questions (paper, section 3.1).

    seed: what its random draws came from; None where the output was recorded elsewhere. model: id or folder of the
    model that said it, prompt: digest of what it was asked; None where no model was, or nobody wrote it down.
    """

    product_id: str
    image_path: str
    generator: str
    seed: int | None
    output: str
    model: str | None = None
    prompt: str | None = None


def best_baseline(report: Mapping[str, Any], condition: str) -> str:
    """Return the name of the text-only baseline that scores highest on the test split; report: the audit's."""
    rows = {name: row["total"] for name, row in report[TEST][condition].items() if name not in REFERENCES}
    return max(rows, key=lambda name: (rows[name]["accuracy"], name))
