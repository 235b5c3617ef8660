"""Read multiple-choice questions from Parquet, CSV, JSON or JSON lines of image, question, options and answer."""

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

from abo_vqa.common.errors import InputError
from abo_vqa.questions.words import fold

if TYPE_CHECKING:
    import pandas as pd

# Column names; the first one found counts. A-OKVQA has image_id, choices, correct_choice_idx.
_IMAGE = ("image", "image_path", "path", "file_name", "image_id")
_OPTIONS = ("options", "choices")
_ANSWER = ("answer", "final_answer", "correct_answer")
_INDEX = ("answer_index", "correct_choice_idx")
_ID = ("qa_id", "question_id", "id")
_TYPE = ("question_type", "type", "category")
_FORMS = "image, question, options (or choices, or option_a, option_b, ...) and answer (or correct_choice_idx)"

Row = dict[str, Any]


def read_question_set(path: Path) -> tuple[list[Row], list[str]]:
    """Return the questions of a file, and the problems of its invalid rows.

    A question has qa_id, image_id (a path, a number, or the row number for embedded images), image (its bytes, None if
    not embedded), question_type ("all" without such a column), question, options, answer, answer_index. An answer is an
    option, its letter, or, in an index column, its index. Raises InputError if the file is missing, has none of the
    four formats, or lacks columns.
    """
    table = _read(path)
    names = {
        "image": _column(table, _IMAGE),
        "question": _column(table, ("question",)),
        "options": _column(table, _OPTIONS),
        "answer": _column(table, _ANSWER),
        "index": _column(table, _INDEX),
        "id": _column(table, _ID),
        "type": _column(table, _TYPE),
    }
    lettered = [name for letter in ascii_lowercase if (name := _column(table, (f"option_{letter}", f"option{letter}")))]
    lacking = [name for name in ("image", "question") if names[name] is None]
    lacking += ["options"] if names["options"] is None and len(lettered) < 2 else []
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


def _read(path: Path) -> "pd.DataFrame":
    if not path.is_file():
        raise InputError(f"{path}: not found")
    import pandas as pd

    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    try:
        if kind == "parquet":
            return pd.read_parquet(path)
        if kind == "csv":
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
            return table.astype({name: int for name in _INDEX if name in table})
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            if kind == "json":
                return pd.DataFrame(json.load(file))
            if kind == "jsonl":
                return pd.DataFrame(list(_lines(file)))
    except (ValueError, TypeError, OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from error
    raise InputError(f"{path}: none of .parquet, .csv, .json and .jsonl, with or without .gz")


def _lines(file: Any) -> Iterator[Any]:
    for number, line in enumerate(file, 1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None


def _column(table: "pd.DataFrame", names: Sequence[str]) -> str | None:
    return next((name for name in names if name in table), None)


def _row(number: int, given: Mapping[Any, Any], names: Mapping[str, str | None], lettered: Sequence[str]) -> Row:
    values = {key: given[name] for key, name in names.items() if name is not None}
    listed = values["options"] if "options" in values else [given[name] for name in lettered]
    if isinstance(listed, str) or not isinstance(listed, Iterable):
        raise ValueError("the options are not a list")
    options = [str(option).strip() for option in listed if str(option).strip()]
    question = str(values["question"]).strip()
    if not question:
        raise ValueError("no question")
    if len(options) < 2:
        raise ValueError("fewer than two options")
    if len({fold(option) for option in options}) < len(options):
        raise ValueError(f"duplicate options: {', '.join(options)}")
    index = _index(values["index"] if "index" in values else values["answer"], options, "index" in values)
    image = values["image"]
    inside = isinstance(image, Mapping)
    return {
        "qa_id": str(values.get("id", number)),
        "image_id": str(image.get("path") or number) if inside else str(image),
        "image": image.get("bytes") if inside else None,
        "question_type": str(values.get("type", "all")),
        "question": question,
        "options": options,
        "answer": options[index],
        "answer_index": index,
    }


def _index(answer: Any, options: Sequence[str], is_index: bool) -> int:
    if is_index:
        # pandas reads an integer column with gaps as floats.
        if answer not in range(len(options)):
            raise ValueError(f"the index {answer} is not in 0 to {len(options) - 1}")
        return int(answer)
    folded = fold(answer)
    places = [place for place, option in enumerate(options) if fold(option) == folded]
    if not places and folded in ascii_lowercase[: len(options)] and folded:
        places = [ascii_lowercase.index(folded)]
    if not places:
        raise ValueError(f"the answer {answer!r} is not among the options {', '.join(options)}")
    return places[0]
