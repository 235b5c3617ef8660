"""A match of answers that forgives inflection, number words, British spelling, articles and typing errors."""

import re
from collections.abc import Sequence
from functools import cache

from abo_vqa.common.words import DIGITS, normalize
from abo_vqa.metrics.answers import exact_match

# One typing error (a letter added, left out, changed, or swapped with the next) in seven letters.
SIMILAR = 0.85
# A number keeps its sign and its fraction; NFKC writes the slash of one half as a fraction slash.
_WORD = re.compile(r"(?<!\w)-?\d+(?:[.,/\u2044]\d+)*|[^\W_]+")
_ARTICLES = {"a", "an", "the"}


def tolerant_match(prediction: str, answer: str, options: Sequence[str] = ()) -> bool:
    """Return whether a prediction equals an answer, or is similar and closer to it than to every other option."""
    if exact_match(prediction, answer):
        return True
    others = [option for option in options if normalize(option) != normalize(answer)]
    nearest = max((_likeness(prediction, option) for option in others), default=0.0)
    return _likeness(prediction, answer) > nearest


def _likeness(first: str, second: str) -> float:
    """Return the similarity in the singular or as written: the singular of a misspelled word is often another one."""
    return max(similarity(*(tolerant_form(text, singular) for text in (first, second))) for singular in (True, False))


@cache
def tolerant_form(text: str, singular: bool = True) -> str:
    """Return an answer's words in American spelling without articles: nouns in the singular, number words as digits."""
    from lemminflect import getLemma

    words = [word for word in _WORD.findall(normalize(text)) if word not in _ARTICLES]
    return " ".join(DIGITS.get(word) or (getLemma(word, upos="NOUN")[0] if singular else word) for word in words)


def similarity(first: str, second: str) -> float:
    """Return the least similarity of two texts' words, one by one; 0 if one is below SIMILAR or the numbers differ.

    Texts without digits are also equal without their spaces: lunch box is lunchbox.
    """
    ones, others = first.split(), second.split()
    if "".join(ones) == "".join(others) != "" and not _has_digit(first):
        return 1.0
    if len(ones) != len(others):
        return 0.0
    least = min(map(_word_similarity, ones, others), default=0.0)
    return least if least >= SIMILAR else 0.0


def _word_similarity(first: str, second: str) -> float:
    """Return one minus the edits (optimal string alignment) over the longer word's length.

    Only equal words are similar if either has a digit, or if they begin with different letters: 13 is not 12, and
    irregular is not regular.
    """
    from rapidfuzz.distance import OSA

    if first == second:
        return 1.0
    if first[:1] != second[:1] or _has_digit(first + second):
        return 0.0
    return OSA.normalized_similarity(first, second)


def _has_digit(text: str) -> bool:
    return any(letter.isdigit() for letter in text)
