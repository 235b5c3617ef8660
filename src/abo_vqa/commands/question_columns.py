"""Find the columns of a table of questions, and read their cells."""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from abo_vqa.common.errors import InputError
from abo_vqa.common.words import normalize, plain, text_of, whole

if TYPE_CHECKING:
    import pandas as pd

# Column names; the first one found counts. A-OKVQA has image_id, choices, correct_choice_idx.
IMAGE_FILE = ("image", "image_path", "image_name", "image_file", "path", "file_name", "filename")
IMAGE = (*IMAGE_FILE, "image_id", "img_id")
QUESTION = ("question", "question_text")
OPTIONS = ("options", "choices")
ANSWER = ("answer", "final_answer", "correct_answer")
GOLD = ("gold", "gold_answer", "ground_truth", "ground_truth_answer", "gt_answer", "reference", "target", "label")
ANSWER_OR_GOLD = (*ANSWER, "answers", *GOLD)  # in a table without predictions
INDEX = ("answer_index", "correct_choice_idx")
ID = ("qa_id", "question_id", "id")
TYPE = ("question_type", "type", "category")
OPTION_KEY = re.compile(r"\W*(?:(?:option|choice)[\W_]*)?([a-z]|[0-9]{1,2})\W*")


def column_key(name: Any) -> str:
    """Return a column's name in lower case, with underscores for spaces and hyphens."""
    return re.sub(r"[\s-]+", "_", str(name).strip().lower())


def find_column(table: "pd.DataFrame", names: Sequence[str]) -> str | None:
    """Return the table's name of the first of these columns that it has; case, spaces and hyphens do not matter."""
    return next(iter(find_columns(table, names)), None)


def find_columns(table: "pd.DataFrame", names: Sequence[str]) -> list[str]:
    """Return the table's names of all of these columns that it has, as find_column."""
    known = {column_key(name): str(name) for name in table}
    return [known[name] for name in names if name in known]


def lettered_columns(table: "pd.DataFrame") -> list[str]:
    """Return the columns option_a, option_b, ... that the table has; also option_1, choice_a and choice_1."""
    keys = {str(name): column_key(name) for name in table}
    options = {name: key for name, key in keys.items() if key.startswith(("option", "choice")) and key not in OPTIONS}
    return [name for name, key in options.items() if OPTION_KEY.fullmatch(key)]


def image_column(path: Path, table: "pd.DataFrame") -> str | None:
    """Return the column that names the images; InputError if two columns disagree.

    Columns of files must name the same file, with or without folder and ending. A column of ids may differ, as long as
    no id belongs to two files. An embedded image is compared with nothing.
    """
    first, *others = find_columns(table, IMAGE) or [""]
    if not first:
        return None
    if table[first].map(lambda cell: isinstance(cell, Mapping | bytes)).any():
        return first
    for other in others:
        named = list(zip(table[first].map(_file), table[other].map(_file), strict=True))
        is_file = column_key(other) in IMAGE_FILE
        seen: dict[str, str] = {}
        for number, (one, two) in enumerate(named, 1):
            known = one if is_file else seen.setdefault(two, one)
            if one and two and (one != two if is_file else one != known):
                raise _ambiguous(path, number, table, first, other, "the image")
    return first


def answer_column(path: Path, table: "pd.DataFrame", names: Sequence[str]) -> str | None:
    """Return the first of these columns; InputError if another one has another answer in a row."""
    first, *others = find_columns(table, names) or [""]
    for other in others:
        for number, (one, two) in enumerate(zip(table[first], table[other], strict=True), 1):
            ones, twos = _answers(one), _answers(two)
            if ones and twos and not ones & twos:
                raise _ambiguous(path, number, table, first, other, "the answer")
    return first or None


def _ambiguous(path: Path, number: int, table: "pd.DataFrame", first: str, other: str, what: str) -> InputError:
    one, two = (str(table[name].iloc[number - 1])[:80] for name in (first, other))
    return InputError(
        f"{path}, row {number}: the columns {first} ({one!r}) and {other} ({two!r}) may both be {what}, but differ; "
        "drop or rename one"
    )


def _file(cell: Any) -> str:
    return PurePosixPath(whole(text_in(cell))).stem


def _answers(cell: Any) -> set[str]:
    return {normalize(text) for text in _texts(cell)} - {""}


def _texts(cell: Any) -> list[str]:
    """Return the texts of a cell with an answer, or with a list of answers, also one spelled as text."""
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        cell = spelled(cell) or cell
    listed = cell.tolist() if hasattr(cell, "tolist") else cell
    return [text_in(each) for each in (listed if isinstance(listed, list | tuple) else [listed])]


def one_answer(cell: Any) -> str:
    """Return the answer in a cell, "" where it is missing; ValueError for a list of different ones."""
    texts = [text for text in _texts(cell) if text]
    if len({normalize(text) for text in texts}) > 1:
        raise ValueError(f"several different answers: {', '.join(texts[:3])}; give one")
    return texts[0] if texts else ""


def is_missing(cell: Any) -> bool:
    """Return whether a cell is empty: no value, NaN, or a blank text."""
    return cell is None or (isinstance(cell, str | float) and text_in(cell) == "")


def text_in(cell: Any) -> str:
    """Return a cell's scalar as text, "" where it is missing."""
    cell = plain(cell)
    missing = isinstance(cell, float | Decimal) and cell != cell
    return "" if missing else text_of(cell).strip()


def spelled(text: str) -> Any:
    """Return a value spelled in JSON or Python, None if it is neither."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None
