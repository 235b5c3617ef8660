"""Normalization of questions, options and answers for comparisons; colors, materials and shapes as one word."""

import re
import unicodedata
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from typing import Any

from breame.spelling import get_american_spelling

BASIC_COLORS = (
    "beige", "black", "blue", "brown", "gold", "gray", "green", "grey", "orange", "pink", "purple", "red",
    "silver", "turquoise", "white", "yellow",
)  # fmt: skip
COMMON_MATERIALS = ("ceramic", "cotton", "fabric", "glass", "leather", "metal", "plastic", "rubber", "wood")
COMMON_SHAPES = ("cylindrical", "oval", "rectangular", "round", "square", "triangular")
_NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
)
DIGITS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS.split())}
_WORD = re.compile(r"[a-z]+")
# No minus sign: "-1" is not 1. Asterisks and underscores are Markdown.
_OUTER = " \t\r\n.,;:!?\"'`()[]{}“”‘’*_"
_OPENING = {")": "(", "]": "[", "}": "{"}
# ".5" is 0.5.
_BARE_FRACTION = re.compile(r"(?<![^\W_])(?<!\.)\.(?=\d)")
_WHOLE = re.compile(r"(-?\d+)\.0")
# Hyphens, the figure and the en dash, and the minus sign of typesetting: "\u22121" is -1.
_MINUS = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212"), "-")
_BOOLEANS = {"true": "yes", "false": "no"}
# Spellings of a missing value, folded.
MISSING = frozenset(("", "nan", "none", "null", "n/a", "na", "nil", "nat", "undefined", "<na>"))
_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)*")
# Invisible, though not of a category of their own: the combining grapheme joiner, Hangul and Khmer fillers, and the
# variation selectors, which choose how the letter before them is drawn.
_FILLERS = frozenset(
    map(
        chr,
        (
            *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0, 0x180B, 0x180C, 0x180D, 0x180F),
            *range(0xFE00, 0xFE10),
            *range(0xE0100, 0xE01F0),
        ),
    )
)
# U+FFFD, which decoders write for what is no character.
UNREADABLE = "\ufffd"
# Markup of chat templates and tokenizers: <image>, </s>, <|im_end|>, <<SYS>>, [INST]. Every tag counts, since each
# model has others; square brackets only around names that are in use.
_MARKUP = re.compile(
    r"<<?[|/]*(?:[A-Za-z][^<>\s]*|0x\w\w)>>?|<\|[^<>]*\|>|◁/?[A-Za-z]\w*▷"
    r"|\[/?(?i:INST|THINK|IMAGE|IMG|IMG_BREAK|IMG_END|CLS|SEP|MASK|PAD|UNK|BOS|EOS|SYSTEM_PROMPT|AVAILABLE_TOOLS"
    r"|TOOL_(?:CALLS|RESULTS|CONTENT)|CONTROL_\d+|UNUSED\d+)\]"
)


def fold(value: Any) -> str:
    """Return an answer or option in lower case and Unicode's NFKC; "" if it is not a scalar.

    Without outer punctuation and format characters, with single spaces inside and one kind of minus sign.
    """
    # Lower case may decompose a letter, and NFKC may write a capital.
    text = clean_text(text_of(value))
    text = unicodedata.normalize("NFKC", text.translate(_MINUS).lower())
    return _without_outer(_BARE_FRACTION.sub("0.", " ".join(text.split())))


def _without_outer(text: str) -> str:
    """Return the text without outer punctuation, but with the brackets that close one inside: "red (dark)"."""
    inner = _stripped(text)
    for letter in text[text.find(inner) + len(inner) :]:
        if letter in _OPENING and inner.count(_OPENING[letter]) > inner.count(letter):
            inner += letter
        elif not letter.isspace():
            break
    return inner


def _stripped(text: str) -> str:
    text = text.strip(_OUTER)
    while text and not text.isascii() and (_is_punctuation(text[0]) or _is_punctuation(text[-1])):
        text = text[_is_punctuation(text[0]) : len(text) - _is_punctuation(text[-1])].strip(_OUTER)
    return text


@lru_cache(maxsize=1 << 12)
def _is_punctuation(letter: str) -> bool:
    """Return whether a letter is punctuation of a script other than Latin, such as 。 and 」; primes are units."""
    return letter > "\x7f" and letter not in "′‰‱" and unicodedata.category(letter) in ("Po", "Ps", "Pe", "Pi", "Pf")


def text_of(value: Any) -> str:
    """Return a scalar as text: booleans as yes and no, whole floats without a fraction; "" for anything else.

    NaN and infinity are no values. A lone surrogate becomes UNREADABLE.
    """
    value = plain(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float | Decimal):
        if not isfinite(value):
            return ""
        value = int(value) if value == int(value) else value
    if not isinstance(value, str | int | float | Decimal):
        return ""
    try:
        return storable(str(value))
    except ValueError:  # an integer of more digits than Python prints
        return ""


def storable(text: str) -> str:
    """Return the text with UNREADABLE for each lone surrogate, which JSON can encode but Parquet and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join(UNREADABLE if "\ud800" <= letter <= "\udfff" else letter for letter in text)
    return text


def clean_text(text: str) -> str:
    """Return the text in Unicode's NFKC, without characters that nobody sees.

    These are format characters (zero-width, bidirectional marks, soft hyphens, tags), variation selectors, fillers, and
    control characters other than whitespace. Other whitespace, such as a no-break space, may become a space.
    """
    return unicodedata.normalize("NFKC", _visible(storable(text)))


def find_markup(text: str) -> str | None:
    """Return the first special token in a text, such as <image>, </s> or [INST]; None if it has none."""
    found = _MARKUP.search(clean_text(text))
    return found[0] if found else None


def plain(value: Any) -> Any:
    """Return a numpy scalar as Python's own, anything else as it is."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


# The same few answers come again and again.
@lru_cache(maxsize=1 << 16)
def normalize(text: str) -> str:
    """Return an answer's normal form for comparisons.

    The first line only; lower case; no outer whitespace and punctuation, single spaces inside (as `fold`); American
    spelling (grey is gray); an answer that is a number word, zero to twenty, becomes digits, 3.0 is 3, true and false
    are yes and no.
    """
    folded = whole(american(fold(first_line(text))))
    return DIGITS.get(folded) or true_or_false(folded)


def whole(text: str) -> str:
    """Return a number without the fraction that pandas writes in a column with gaps: 7.0 is 7."""
    found = _WHOLE.fullmatch(text)
    return found[1] if found else text


def true_or_false(folded: str) -> str:
    """Return true and false as yes and no, anything else as it is; of folded text."""
    return _BOOLEANS.get(folded, folded)


def is_number(text: str) -> bool:
    """Return whether a text is a number in digits or one of the words zero to twenty; of folded text."""
    return text in DIGITS or _NUMBER.fullmatch(text) is not None


def american(text: str) -> str:
    """Return a lower-case text with British spellings replaced, word by word (table: package breame)."""
    return _WORD.sub(lambda word: get_american_spelling(word[0]), text)


def first_line(text: str) -> str:
    """Return the first line that is not blank, or ""."""
    return next(iter(_visible(text).strip().splitlines()), "")


def _visible(text: str) -> str:
    """Return the text without characters that nobody sees, such as zero-width spaces."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter for letter in text if not _is_hidden(letter))


@lru_cache(maxsize=1 << 12)
def _is_hidden(letter: str) -> bool:
    kind = unicodedata.category(letter)
    return kind == "Cf" or letter in _FILLERS or (kind == "Cc" and not letter.isspace())


def color_word(text: str | None) -> str | None:
    """Return a color as one word: red for "Red", blue for "dark blue", None for "black/white" and "red rose"."""
    word = single_word(text)
    if word is None and text is not None:
        words = clean_text(text).lower().split()
        if len(words) == 2 and words[1] in BASIC_COLORS and words[0].isalpha() and words[0] not in BASIC_COLORS:
            word = words[1]
    return "gray" if word == "grey" else word


def single_word(text: str | None) -> str | None:
    """Return a value in lower case if it is one word of 3 to 16 letters."""
    word = clean_text(text or "").strip().lower()
    return word if word.isascii() and word.isalpha() and 2 < len(word) <= 16 else None
