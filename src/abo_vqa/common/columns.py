"""The columns of tables of questions: their names, which of them a table has, and whether two of them agree."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from abo_vqa.common.cells import OPTION_KEY, Options, answers_in, is_missing, read_options, text_in, words_in
from abo_vqa.common.errors import InputError
from abo_vqa.common.table_files import GivenTable, Row, column_key
from abo_vqa.common.words import fold, normalize, whole

# Column names; the first one found counts. A-OKVQA has image_id, choices, correct_choice_idx.
IMAGE_FILE = ("image", "images", "image_path", "image_name", "image_file", "path", "file_name", "filename")
IMAGE = (*IMAGE_FILE, "image_id", "img_id")
QUESTION = ("question", "question_text")
OPTIONS = ("options", "choices")
# A letter before its text: of options that are letters themselves, the text could be taken for a letter.
ANSWER = ("answer", "correct_answer", "answer_key", "final_answer")
GOLD = ("gold", "gold_answer", "ground_truth", "ground_truth_answer", "gt_answer", "reference", "target", "label")
ANSWER_OR_GOLD = (*ANSWER, "answers", *GOLD)  # in a table without predictions
INDEX = ("answer_index", "correct_choice_idx", "answer_idx", "correct_index", "correct_idx")
ID = ("qa_id", "question_id", "id")
TYPE = ("question_type", "type", "category")


def find_column(table: GivenTable, names: Sequence[str]) -> str | None:
    """Return the table's name of the first of these columns that it has; case, spaces and hyphens do not matter."""
    return next(iter(find_columns(table, names)), None)


def find_columns(table: GivenTable, names: Sequence[str]) -> list[str]:
    """Return the table's names of all of these columns that it has, as find_column."""
    known = {column_key(name): name for name in table.columns}
    return [known[name] for name in names if name in known]


def lettered_columns(table: GivenTable) -> list[str]:
    """Return the columns option_a, option_b, ... that the table has; also option_1, choice_a, choice_1 and a."""
    keys = {name: key for name in table.columns if (key := column_key(name)) not in OPTIONS}
    named = [name for name, key in keys.items() if key.startswith(("option", "choice")) and OPTION_KEY.fullmatch(key)]
    # Bare letters from a on; one alone may be anything.
    bare = [name for name, key in keys.items() if len(key) == 1 and key.isalpha()]
    return named or (bare if {"a", "b"} <= {keys[name] for name in bare} else [])


def options_of(row: Mapping[str, Any], columns: Sequence[str], lettered: Sequence[str]) -> Options:
    """Return a row's options, from the columns of options and from option_a, option_b, ...; none if all are empty.

    Raises ValueError as cells.read_options, and if two of these differ.
    """
    named = {name: row[name] for name in columns}
    given = {name: cell for name, cell in named.items() if not is_missing(cell)}
    by_letter = {name: None if is_missing(row[name]) else row[name] for name in lettered}
    read = {name: read_options(cell) for name, cell in given.items()}
    if any(cell is not None for cell in by_letter.values()):
        read[", ".join(lettered)] = read_options(by_letter)
    found = [(name, options) for name, options in read.items() if options.texts]
    for name, options in found[1:]:
        if list(map(fold, options.texts)) != list(map(fold, found[0][1].texts)):
            raise ValueError(f"the columns {found[0][0]} and {name} have different options; drop one")
    return found[0][1] if found else Options([], {})


def question_column(path: Path, table: GivenTable) -> str | None:
    """Return the column of questions; InputError if two of them differ in a row."""
    return _agreeing(path, table, QUESTION, "the question", lambda cell, _: {fold(words_in(cell))} - {""})


def answer_column(path: Path, table: GivenTable, names: Sequence[str]) -> str | None:
    """Return the first of these columns; InputError if another one has another answer in a row.

    A letter is the same answer as the option that it names.
    """
    columns, lettered = find_columns(table, OPTIONS), lettered_columns(table)

    def answers(cell: Any, row: Row) -> set[str]:
        found = {normalize(text) for text in answers_in(cell)} - {""}
        options = options_of(row, columns, lettered).texts
        places = {ord(text) - ord("a") for text in found if len(text) == 1 and text.isascii()}
        return found | {normalize(options[place]) for place in places if 0 <= place < len(options)}

    return _agreeing(path, table, names, "the answer", answers)


def index_column(path: Path, table: GivenTable) -> str | None:
    """Return the column of the answers' indices; InputError if two of them differ in a row."""
    return _agreeing(path, table, INDEX, "the index", lambda cell, _: {whole(text_in(cell))} - {""})


def _agreeing(
    path: Path, table: GivenTable, names: Sequence[str], what: str, read: Callable[[Any, Row], set[str]]
) -> str | None:
    first, *others = find_columns(table, names) or [""]
    for other in others:
        for number, row in enumerate(table.rows, 1):
            ones, twos = (_unless_unreadable(read, row[name], row) for name in (first, other))
            if ones and twos and not ones & twos:
                raise _ambiguous(path, number, row, first, other, what)
    return first or None


def _unless_unreadable(read: Callable[[Any, Row], set[str]], cell: Any, row: Row) -> set[str]:
    try:
        return read(cell, row)
    except ValueError:  # named with its row when it is read
        return set()


def image_column(path: Path, table: GivenTable, names: Sequence[str] = IMAGE) -> str | None:
    """Return the first of these columns, which names the images; InputError if another one disagrees.

    Columns of files must name the same file, with or without folder and ending. A column of ids may differ, as long as
    no id belongs to two files. An embedded image is compared with nothing.
    """
    first, *others = find_columns(table, names) or [""]
    if not first:
        return None
    if any(isinstance(cell, Mapping | bytes | list) for cell in table.column(first)):
        return first
    for other in others:
        is_file = column_key(other) in IMAGE_FILE
        seen: dict[str, str] = {}
        for number, row in enumerate(table.rows, 1):
            one, two = _file(row[first]), _file(row[other])
            known = two if is_file else seen.setdefault(two, one)
            if one and two and not _same_file(one, known):
                raise _ambiguous(path, number, row, first, other, "the image")
    return first


def _ambiguous(path: Path, number: int, row: Row, first: str, other: str, what: str) -> InputError:
    one, two = (str(row[name])[:80] for name in (first, other))
    return InputError(
        f"{path}, row {number}: the columns {first} ({one!r}) and {other} ({two!r}) may both be {what}, but differ; "
        "drop or rename one"
    )


def _file(cell: Any) -> str:
    try:
        return whole(text_in(cell))
    except ValueError:  # an embedded image, or unreadable: named with its row when it is read
        return ""


def _same_file(one: str, two: str) -> bool:
    """Return whether two paths may be one file's: folders and an ending count where both have them."""
    first, second = (PurePosixPath(text.replace("\\", "/")) for text in (one, two))
    endings = {path.suffix for path in (first, second)} - {""}
    depth = min(len(first.parts), len(second.parts))
    ends = (path.with_suffix("").parts[-depth:] if depth else () for path in (first, second))
    return len(endings) < 2 and next(ends) == next(ends)
