"""A match of answers that forgives inflection, number words, British spelling, articles and typing errors."""

import re
from collections.abc import Sequence
from functools import cache

from abo_vqa.common.words import DIGITS, normalize
from abo_vqa.metrics.answers import exact_match

# One typing error (a letter added, left out, changed, or swapped with the next) in seven letters.
SIMILAR = 0.85
# A number keeps its sign and its fraction.
_WORD = re.compile(r"(?<!\w)-?\d+(?:[.,]\d+)*|[^\W_]+")
_ARTICLES = {"a", "an", "the"}


def tolerant_match(prediction: str, answer: str, options: Sequence[str] = ()) -> bool:
    """Return whether a prediction equals an answer, or is similar and closer to it than to every other option."""
    if exact_match(prediction, answer):
        return True
    said, right = tolerant_form(prediction), tolerant_form(answer)
    others = [option for option in options if normalize(option) != normalize(answer)]
    nearest = max((similarity(said, tolerant_form(option)) for option in others), default=0.0)
    return similarity(said, right) >= SIMILAR and similarity(said, right) > nearest


@cache
def tolerant_form(text: str) -> str:
    """Return an answer's words in American spelling without articles: nouns in the singular, number words as digits."""
    from lemminflect import getLemma

    words = [word for word in _WORD.findall(normalize(text)) if word not in _ARTICLES]
    return " ".join(DIGITS.get(word) or getLemma(word, upos="NOUN")[0] for word in words)


def similarity(first: str, second: str) -> float:
    """Return one minus the edits (optimal string alignment) over the longer text's length.

    Only equal texts are similar if either has a digit, or if they begin with different letters: 13 is not 12, and
    irregular is not regular.
    """
    from rapidfuzz.distance import OSA

    if first == second:
        return float(first != "")
    if first[:1] != second[:1] or any(letter.isdigit() for letter in first + second):
        return 0.0
    return OSA.normalized_similarity(first, second)
