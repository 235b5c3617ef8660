"""The one spelling in which questions, options and answers are compared."""

from typing import Any

_NUMBER_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty"
)
DIGITS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS.split())}
# No minus sign: "-1" is not 1.
_OUTER = " \t\r\n.,;:!?\"'`()[]{}“”‘’"


def fold(value: Any) -> str:
    """Return an answer or option in lower case and without outer punctuation; "" for no scalar."""
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
        # JSON can spell half a surrogate pair, which no table can hold.
        return str(value).encode(errors="replace").decode()
    except ValueError:  # an integer of more digits than Python prints
        return ""


def normalize(text: str) -> str:
    """Return the one spelling in which answers are compared.

    The first line only; lower case; without outer white space and punctuation, single spaces inside (as the
    questions were folded); a number word that is the whole answer, zero to twenty, becomes digits.
    """
    lines = text.strip().splitlines()
    folded = fold(lines[0]) if lines else ""
    return DIGITS.get(folded, folded)
