"""Normalization of questions, options and answers for comparisons."""

import re
from typing import Any

from breame.spelling import get_american_spelling

_NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
)
DIGITS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS.split())}
_WORD = re.compile(r"[a-z]+")
# No minus sign: "-1" is not 1.
_OUTER = " \t\r\n.,;:!?\"'`()[]{}“”‘’"


def fold(value: Any) -> str:
    """Return an answer or option in lower case and without outer punctuation; "" if it is not a scalar."""
    return " ".join(text_of(value).lower().strip(_OUTER).split())


def text_of(value: Any) -> str:
    """Return a scalar as text: booleans as yes and no, whole floats without a fraction; "" for anything else."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float):
        return ""
    try:
        # JSON can encode a lone surrogate, which Parquet cannot.
        return str(value).encode(errors="replace").decode()
    except ValueError:  # an integer of more digits than Python prints
        return ""


def normalize(text: str) -> str:
    """Return an answer's normal form for comparisons.

    The first line only; lower case; no outer whitespace and punctuation, single spaces inside (as `fold`); American
    spelling (grey is gray); an answer that is a number word, zero to twenty, becomes digits.
    """
    folded = american(fold(first_line(text)))
    return DIGITS.get(folded, folded)


def american(text: str) -> str:
    """Return a lower-case text with British spellings replaced, word by word (table: package breame)."""
    return _WORD.sub(lambda word: get_american_spelling(word[0]), text)


def first_line(text: str) -> str:
    """Return the first line that is not blank, or ""."""
    return next(iter(text.strip().splitlines()), "")
