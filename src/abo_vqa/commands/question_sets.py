"""Read questions, with options or without, from Parquet, CSV, JSON or JSON lines."""

import csv
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

from abo_vqa.commands.question_columns import (
    ANSWER_OR_GOLD,
    ID,
    INDEX,
    OPTION_KEY,
    OPTIONS,
    QUESTION,
    TYPE,
    answer_column,
    column_key,
    find_column,
    image_column,
    is_missing,
    lettered_columns,
    one_answer,
    spelled,
    text_in,
)
from abo_vqa.common.errors import InputError
from abo_vqa.common.words import fold, whole

if TYPE_CHECKING:
    import pandas as pd

_FORMS = "image, question, answer (or correct_choice_idx) and perhaps options (or choices, or option_a, option_b, ...)"

Row = dict[str, Any]


def read_question_set(path: Path) -> tuple[list[Row], list[str]]:
    """Return the questions of a file, and the problems of its invalid rows.

    A question has qa_id, image_id (a path, a number, or the row number for embedded images), image (its bytes, None if
    not embedded), question_type ("all" without such a column), question, options, answer, answer_index. An answer is an
    option, its letter, or, in an index column, its index. A row without options has an empty list of them, the answer
    as written, and no index (None). Raises InputError if the file is missing, has none of the four formats, lacks
    columns, or has two columns for one thing with different contents.
    """
    table = read_table(path)
    names = {
        "image": image_column(path, table),
        "question": find_column(table, QUESTION),
        "options": find_column(table, OPTIONS),
        "answer": answer_column(path, table, ANSWER_OR_GOLD),
        "index": find_column(table, INDEX),
        "id": find_column(table, ID),
        "type": find_column(table, TYPE),
    }
    lettered = lettered_columns(table)
    lacking = [name for name in ("image", "question") if names[name] is None]
    # An index points at options, and a single lettered column is a slip rather than a table without options.
    needs_options = len(lettered) == 1 or (names["answer"] is None and not lettered)
    lacking += ["options"] if names["options"] is None and needs_options else []
    lacking += ["answer"] if names["answer"] is None and names["index"] is None else []
    if lacking:
        there = ", ".join(map(str, table))
        raise InputError(f"{path}: no column for {', '.join(lacking)}; it has {there}; expected: {_FORMS}")
    rows, problems = [], []
    for number, given in enumerate(table.to_dict("records"), 1):
        try:
            rows.append(_row(number, given, names, lettered))
        except ValueError as error:
            problems.append(f"row {number}: {error}")
    if len({row["qa_id"] for row in rows}) < len(rows):
        raise InputError(f"{path}: the column {names['id']} has duplicate ids; rename it to number the questions")
    return rows, problems


def read_table(path: Path) -> "pd.DataFrame":
    """Return a file's rows; CSV cells are texts, of columns separated by comma, semicolon or tab.

    Raises InputError if the file is missing, has none of the four formats, has two columns of one name (see
    find_column), or a CSV line has too many or few fields.
    """
    if not path.is_file():
        raise InputError(f"{path}: not found")
    table = _read(path)
    counts = Counter(map(column_key, table))
    if alike := [str(name) for name in table if counts[column_key(name)] > 1]:
        raise InputError(
            f"{path}: the columns {', '.join(alike)} have one name but for case, spaces or hyphens; drop one"
        )
    return table


def _read(path: Path) -> "pd.DataFrame":
    import pandas as pd

    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    try:
        if kind == "parquet":
            return pd.read_parquet(path)
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            if kind in ("csv", "tsv"):
                return _csv(file)
            if kind == "json":
                return pd.DataFrame(json.load(file))
            if kind == "jsonl":
                return pd.DataFrame(list(_lines(file)))
    except (ValueError, TypeError, OSError, EOFError, csv.Error, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
    raise InputError(f"{path}: none of .parquet, .csv, .tsv, .json and .jsonl, with or without .gz")


def _csv(file: Any) -> "pd.DataFrame":
    """Return the rows of a CSV file.

    pandas would take the first column of lines that are longer than the header for an index.
    """
    import pandas as pd

    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    header = text.readline()
    text.seek(0)
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(text, delimiter=delimiter)
    names = [name.strip() for name in next(reader, [])]
    rows, start = [], reader.line_num + 1
    for row in reader:
        # Lines that are rows of their own; not with commas, which multi-line prose has.
        lines = [line.count(delimiter) == len(names) - 1 for line in delimiter.join(row).split("\n")]
        if delimiter != "," and lines[0] and any(lines[1:]):
            raise ValueError(f"line {start}: a field goes on in the next line; a quote is not closed?")
        start = reader.line_num + 1
        if len(row) not in (0, len(names)):
            raise ValueError(f"line {reader.line_num} has {len(row)} fields, the header {len(names)}; quote commas")
        rows += [row] if row else []
    return pd.DataFrame(rows, columns=names, dtype=object)


def _lines(file: Any) -> Iterator[Any]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
        if not isinstance(row, dict):
            raise ValueError(f"line {number}: a {type(row).__name__}, not an object of columns")
        yield row


def given_options(given: Mapping[Any, Any], column: str | None, lettered: Sequence[str]) -> Any:
    """Return a row's options for read_options: the column's cell, or those of option_a, option_b, ... by name."""
    return {name: given[name] for name in lettered} if column is None else given[column]


def read_options(given: Any) -> list[str]:
    """Return the options in a cell: a list, a letter-to-option mapping, or either spelled in JSON or Python.

    A mapping is read in the order of its letters or numbers (a, option_a, "(a)", 1). Missing and empty ones at the end
    are left out. Raises ValueError for anything else, and for a gap, which makes letters and indices ambiguous.
    """
    if isinstance(given, str):
        given = spelled(given)
    if isinstance(given, Mapping):
        given = _by_letter(given)
    listed = given.tolist() if hasattr(given, "tolist") else given
    if not isinstance(listed, list | tuple):
        raise ValueError("the options are not a list")
    options = list(map(text_in, listed))
    while options and not options[-1]:
        options.pop()
    if "" in options:
        place = options.index("")
        letter = ascii_lowercase[place : place + 1].upper()
        raise ValueError(f"option {place + 1} ({letter}) is empty, but a later one is not; fill it or move them up")
    return options


def _by_letter(given: Mapping[Any, Any]) -> list[Any]:
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
    return [options.get(place) for place in range(first, max(options, default=-1) + 1)]


def _row(number: int, given: Mapping[Any, Any], names: Mapping[str, str | None], lettered: Sequence[str]) -> Row:
    values = {key: given[name] for key, name in names.items() if name is not None}
    listed = given_options(given, names["options"], lettered)
    options = [] if is_missing(listed) else read_options(listed)
    image, question = values["image"], text_in(values["question"])
    inside = isinstance(image, Mapping)
    name = str(image.get("path") or (number if image.get("bytes") else "")) if inside else whole(text_in(image))
    if not name:
        raise ValueError("no image")
    if not question:
        raise ValueError("no question")
    if len(options) == 1:
        raise ValueError("fewer than two options")
    if len({fold(option) for option in options}) < len(options):
        raise ValueError(f"duplicate options: {', '.join(options)}")
    answer, index = _answer(values, names, options)
    return {
        "qa_id": whole(text_in(values.get("id"))) or str(number),
        "image_id": name,
        "image": image.get("bytes") if inside else None,
        "question_type": text_in(values.get("type")) or "all",
        "question": question,
        "options": options,
        "answer": answer,
        "answer_index": index,
    }


def _answer(
    values: Mapping[str, Any], names: Mapping[str, str | None], options: Sequence[str]
) -> tuple[str, int | None]:
    """Return the answer and its index among the options, None without options."""
    if options:
        index = _index(values["index"] if "index" in values else values["answer"], options, "index" in values)
        return options[index], index
    if "answer" not in values:
        raise ValueError(f"the column {names['index']} has an index, but the row has no options")
    answer = one_answer(values["answer"])
    if not fold(answer):
        raise ValueError(f"no answer in the column {names['answer']}")
    return answer, None


def _index(answer: Any, options: Sequence[str], is_index: bool) -> int:
    if is_index:
        places = [place for place in range(len(options)) if whole(text_in(answer)) == str(place)]
        if not places:
            raise ValueError(f"the index {answer} is not in 0 to {len(options) - 1}")
        return places[0]
    folded = fold(answer)
    places = [place for place, option in enumerate(options) if fold(option) == folded]
    if not places and folded in list(ascii_lowercase[: len(options)]):
        places = [ascii_lowercase.index(folded)]
    if not places:
        raise ValueError(f"the answer {answer!r} is not among the options {', '.join(options)}")
    return places[0]
