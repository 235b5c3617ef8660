"""Cells of the tables that people bring: scalars as text, missing values of every spelling, options of every form."""

import ast
import io
import json
import re
import tokenize
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from math import isfinite
from string import ascii_lowercase
from typing import Any, NamedTuple

from abo_vqa.common.words import clean_text, fold, normalize, text_of, whole

# What programs write for a missing value and nobody means.
_NEVER_MEANT = {"", "nan", "NaN", "NAN", "-nan", "-NaN", "<NA>", "NaT", "#N/A", "#NA", "1.#QNAN", "-1.#IND"}
# What pandas.read_csv takes for missing besides. Within a list it may be an option, such as "None".
_AS_A_CELL = {*_NEVER_MEANT, "None", "NULL", "null", "NA", "N/A", "n/a", "#N/A N/A"}
_BOOLEANS = {"true": "yes", "false": "no"}
_FLOAT = re.compile(r"-?\d+\.\d+")
OPTION_KEY = re.compile(r"\W*(?:(?:option|choice)[\W_]*)?([a-z]|[0-9]{1,2})\W*")
_LABELS = ("label", "letter", "key", "id")
_TEXTS = ("text", "option", "choice", "value", "content")
# Labels of options in a list.
_LISTED = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"[(\[]?\s*([A-Za-z])\s*[).:\]]+\s*(\S.*)",
        r"[(\[]?\s*(\d{1,2})\s*[).:\]]+\s+(\S.*)",
        r"([A-Z])\s+(\S.*)",
    )
]
_PYTHON = {"nan": "None", "null": "None", "true": "True", "false": "False"}
_NUMPY = re.compile(r"\b(?:np\.|numpy\.)?(?:array|str_|bool_?|u?int\d*|float\d+)(?=\()")


class Options(NamedTuple):
    """A question's options in their order. numbers: the place of each option by its number, if they are numbered."""

    texts: list[str]
    numbers: dict[str, int]


def is_missing(cell: Any, within_list: bool = False) -> bool:
    """Return whether a cell has no value: None, NaN, a blank text or a missing value's name, such as nan or <NA>.

    within_list: None, NULL and N/A are texts there.
    """
    if isinstance(cell, str):
        return cell.strip() in (_NEVER_MEANT if within_list else _AS_A_CELL)
    return cell is None or (isinstance(cell, float | Decimal) and cell != cell)


def read_as(what: str, read: Callable[[Any], str], cell: Any) -> str:
    """Return a cell read by one of the functions below; the ValueError says what it should have been."""
    try:
        return read(cell)
    except ValueError as error:
        raise ValueError(f"{what} is {error}") from None


def text_in(cell: Any) -> str:
    """Return a cell's scalar as text, "" where it is missing; ValueError for anything else, such as a list."""
    return "" if is_missing(cell) else _scalar(cell)


def words_in(cell: Any) -> str:
    """Return the text of a question, an option or an answer, in NFKC and without characters that nobody sees.

    Raises ValueError as text_in.
    """
    return clean_text(text_in(cell)).strip()


def answer_in(cell: Any) -> str:
    """Return the text of an option or an answer as words_in, true and false of any spelling as yes and no."""
    return _as_answer(text_in(cell))


def _as_answer(text: str) -> str:
    cleaned = clean_text(text).strip()
    return _BOOLEANS.get(cleaned.lower(), cleaned)


def _scalar(cell: Any) -> str:
    text = text_of(cell)
    if not text and not isinstance(cell, str):
        raise ValueError(f"{form_of(cell)}, not a text or a number")
    return text.strip()


def form_of(cell: Any) -> str:
    """Return the name of a cell's form for messages, such as "a list"."""
    if isinstance(cell, list | tuple):
        return "a list"
    if isinstance(cell, Mapping):
        return f"an object of {', '.join(map(str, list(cell)[:4])) or 'nothing'}"
    if isinstance(cell, float | Decimal) and not isfinite(cell):
        return "infinity"
    name = "number" if isinstance(cell, int | float | Decimal) else type(cell).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def one_answer(cell: Any) -> str:
    """Return the answer in a cell, "" where it is missing; ValueError for a list of different ones."""
    texts = [text for text in answers_in(cell) if text]
    if len({normalize(text) for text in texts}) > 1:
        raise ValueError(f"several different answers: {', '.join(texts[:3])}; give one")
    return texts[0] if texts else ""


def answers_in(cell: Any) -> list[str]:
    """Return the texts of a cell with an answer, or with a list of answers, also one spelled as text."""
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        read = spelled(cell)
        cell = read if isinstance(read, list) else cell
    if isinstance(cell, list | tuple):
        return [read_as("an answer", _item, each) for each in cell]
    return [read_as("the answer", answer_in, cell)]


def _item(cell: Any) -> str:
    return "" if is_missing(cell, within_list=True) else _as_answer(_scalar(cell))


def spelled(text: str) -> Any:
    """Return a value spelled in JSON or Python, also as numpy prints it; None if it is neither."""
    for read in (json.loads, _python):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError, tokenize.TokenError):
            continue
    return None


def _python(text: str) -> Any:
    """Read a Python literal; numpy leaves out the commas between elements, and names the kinds of its numbers."""
    found: list[str] = []
    after_value = False
    for token in tokenize.generate_tokens(io.StringIO(_NUMPY.sub("", text.strip())).readline):
        if token.type in (tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER):
            continue
        # array([...], dtype=object): what follows the list is no element.
        if token.string == "dtype":
            return ast.literal_eval("".join(found).rstrip(",") + ")")
        value = token.type in (tokenize.STRING, tokenize.NUMBER, tokenize.NAME)
        # Python would join two texts into one.
        found += [","] if value and after_value else []
        found.append(_PYTHON.get(token.string, token.string))
        after_value = value
    return ast.literal_eval("".join(found))


def read_options(cell: Any) -> Options:
    """Return the options in a cell: a list, an object of them by letter or number, or either in JSON or Python.

    An object is read in the order of its letters or numbers (a, option_a, "(a)", 1). A list of objects has one option
    each, {"A": "red"} or {"label": "A", "text": "red"}; an object of two lists has labels and texts. Missing options at
    the end are left out. Raises ValueError, which names the form, for anything else, and for a gap, which makes letters
    and indices ambiguous.
    """
    given = cell
    if isinstance(cell, str):
        given = spelled(cell)
        if not isinstance(given, list | tuple | Mapping):
            raise ValueError(f"the options are the text {cell[:60]!r}, no list in JSON or Python; write it so")
    if isinstance(given, list | tuple) and given and all(isinstance(each, Mapping) for each in given):
        given = _joined(given)
    if isinstance(given, Mapping) and given and all(isinstance(value, list | tuple) for value in given.values()):
        given = _two_lists(given)
    numbers: dict[str, int] = {}
    if isinstance(given, Mapping):
        given, numbers = _by_letter(given)
    if not isinstance(given, list | tuple):
        raise ValueError(f"the options are {form_of(given)}, not a list")
    options = [read_as("an option", _item, each) for each in given]
    while options and not options[-1]:
        options.pop()
    if labeled := _labeled(options):
        ordered, numbers = _by_letter(labeled)
        options = list(map(str, ordered))
    if "" in options:
        place = options.index("")
        letter = ascii_lowercase[place : place + 1].upper()
        raise ValueError(f"option {place + 1} ({letter}) is empty, but a later one is not; fill it or move them up")
    return Options(options, {number: place for number, place in numbers.items() if place < len(options)})


def _joined(given: Sequence[Mapping[Any, Any]]) -> Any:
    """Return objects of one option each as one object by label, or as a list where they have no labels."""
    pairs = []
    for entry in given:
        label, text = (next((name for name in names if name in entry), None) for names in (_LABELS, _TEXTS))
        if len(entry) == 1 and text is None:
            pairs += list(entry.items())
        elif text is not None and len(entry) == 1 + (label is not None):
            pairs.append((entry.get(label), entry[text]))
        else:
            raise ValueError(f"an option is {form_of(entry)}, not a text or a number")
    labels = [label for label, _ in pairs]
    if not any(label is not None for label in labels):
        return [text for _, text in pairs]
    if len({str(label).lower() for label in labels}) < len(labels):
        raise ValueError(f"the options have a letter or number twice: {', '.join(map(str, labels))}")
    return dict(pairs)


def _labeled(options: Sequence[str]) -> dict[str, str]:
    """Return the options by their labels, as in "B) red", "2. red" or "B red"; empty unless these are a to the last.

    "J. Doe" and "A. Smith" have no labels.
    """
    for label in _LISTED:
        pairs = [(found[1].lower(), found[2]) for option in options if (found := label.fullmatch(option))]
        keys = sorted(key for key, _ in pairs)
        orders = (list(ascii_lowercase), list(map(str, range(1, 100))), list(map(str, range(100))))
        if len(pairs) == len(options) > 1 and any(keys == sorted(order[: len(keys)]) for order in orders):
            return dict(pairs)
    return {}


def _two_lists(given: Mapping[Any, Sequence[Any]]) -> Any:
    label, text = (next((name for name in names if name in given), None) for names in (_LABELS, _TEXTS))
    if label is None or text is None or len(given) != 2 or len(given[label]) != len(given[text]):
        raise ValueError(f"the options are {form_of(given)}, each a list; write one list")
    return _joined([{label: one, text: other} for one, other in zip(given[label], given[text], strict=True)])


def _by_letter(given: Mapping[Any, Any]) -> tuple[list[Any], dict[str, int]]:
    """Return the options in the order of their letters or numbers (from 0 or 1), None for a missing one."""
    named = ", ".join(map(str, given))
    keys = [found[1] for key in given if (found := OPTION_KEY.fullmatch(str(key).lower()))]
    numbered = [key.isdigit() for key in keys]
    if len(keys) < len(given) or len(set(numbered)) > 1:
        raise ValueError(f"the options {named} are neither all lettered nor all numbered; write them as a list")
    options = {
        int(key) if key.isdigit() else ascii_lowercase.index(key): option
        for key, option in zip(keys, given.values(), strict=True)
    }
    if len(options) < len(given):
        raise ValueError(f"the options have a letter or number twice: {named}")
    first = 1 if any(numbered) and 0 not in options else 0
    places = range(first, max(options, default=-1) + 1)
    numbers = {str(place): place - first for place in places} if any(numbered) else {}
    return [options.get(place) for place in places], numbers


def is_index_column(answers: Sequence[Any], options: Sequence[Sequence[str]]) -> bool:
    """Return whether a column of answers has the options' indices, from 0, in every row with options and an answer.

    A column whose answers are all options themselves has texts.
    """
    given = [(answer, listed) for answer, listed in zip(answers, options, strict=True) if listed]
    given = [(_number(answer), listed) for answer, listed in given if not is_missing(answer)]
    if not given or any(number is None or number >= len(listed) for number, listed in given):
        return False
    texts = all(str(number) in {whole(fold(option)) for option in listed} for number, listed in given)
    # Numbers from 1 would be taken for their neighbors.
    return not texts and min(number for number, _ in given if number is not None) == 0


def _number(cell: Any) -> int | None:
    if isinstance(cell, bool) or not isinstance(cell, str | int | float | Decimal):
        return None
    text = whole(text_of(cell).strip())
    return int(text) if len(text) < 4 and text.isdecimal() and str(int(text)) == text else None


def place_in(index: Any, options: Sequence[str]) -> int:
    """Return the place that an index from 0 names; ValueError if it is none."""
    number = _number(index)
    if number is None or number >= len(options):
        shown = whole(text_in(index)) or "''"
        raise ValueError(f"the index {shown} is not in 0 to {len(options) - 1}")
    return number


def without_fractions(cells: Sequence[Any]) -> list[Any]:
    """Return a column of texts, 7 for 7.0 if all are numbers with a fraction: a gap made floats of integers."""
    texts = [cell.strip() for cell in cells if not is_missing(cell) and isinstance(cell, str)]
    if not texts or not all(map(_FLOAT.fullmatch, texts)):
        return list(cells)
    return [whole(cell.strip()) if isinstance(cell, str) else cell for cell in cells]
