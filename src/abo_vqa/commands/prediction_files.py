"""Read tables of predictions from any source."""

import hashlib
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from abo_vqa.commands.question_columns import (
    ANSWER,
    GOLD,
    ID,
    IMAGE,
    INDEX,
    OPTIONS,
    QUESTION,
    TYPE,
    find_column,
    is_missing,
    lettered_columns,
    text_in,
)
from abo_vqa.commands.question_sets import given_options, read_options, read_table
from abo_vqa.common.errors import InputError
from abo_vqa.common.words import first_line, normalize, plain, whole
from abo_vqa.questions.repair import meant, unlettered

if TYPE_CHECKING:
    import pandas as pd

# Column names; the first one found counts. `answer` is the gold answer, but the prediction beside an explicit gold.
PREDICTION = (
    "prediction", "predicted_answer", "predicted", "pred", "generated_answer", "generated_text", "model_answer",
    "model_output", "response", "output", "generated", "completion",
)  # fmt: skip
GROUP, CONDITION, SHOWN = ("image_group",), ("condition",), ("shown_image",)
_FORMS = "image, question (or question_id), answer (or gold, label) and prediction (or generated_answer, response)"


@dataclass(frozen=True)
class Prediction:
    """A row of a file; `row` counts from 1, a field that the file lacks is empty.

    answer and prediction: a letter is replaced by its option. written: the prediction as the file has it.
    """

    row: int
    image: str
    image_group: str
    question: str
    qa_id: str
    question_type: str
    options: tuple[str, ...]
    answer: str
    prediction: str
    written: str = ""
    condition: str = ""
    shown_image: str = ""


Key = tuple[str, ...]
Table = dict[Key, Prediction]


def read_predictions(path: Path, condition: str | None = None) -> list[Prediction]:
    """Return the rows of a file, of one condition if it has several, as tables/predictions have.

    Raises InputError if columns are missing, a row is invalid, or the image column is finer than another one.
    """
    table = _under(path, read_table(path), condition)
    names = _columns(path, list(table), {key: find_column(table, known) for key, known in _known(table).items()})
    lettered = lettered_columns(table)
    if table.empty:
        raise InputError(f"{path}: has no rows")
    rows = []
    for number, given in zip((table.index + 1).tolist(), table.to_dict("records"), strict=True):
        try:
            rows.append(_prediction(number, given, names, lettered))
        except ValueError as error:
            raise InputError(f"{path}, row {number}: {error}") from None
    for other in IMAGE:
        _check_images(path, table, names["image"], find_column(table, (other,)), rows)
    return rows


def _check_images(
    path: Path, table: "pd.DataFrame", chosen: str, other: str | None, rows: Sequence[Prediction]
) -> None:
    """Raise InputError if an image of another column is several in the chosen one: units would not be independent."""
    seen: dict[str, Prediction] = {}
    for name, row in zip(table[other].map(_image) if other else (), rows, strict=False):
        first = seen.setdefault(name, row)
        if name and first.image != row.image:
            raise InputError(
                f"{path}, row {row.row}: {name} in the column {other} is {row.image} in the column {chosen}, "
                f"{first.image} in row {first.row}; keep the column that has one value for each image"
            )


def _under(path: Path, table: "pd.DataFrame", condition: str | None) -> "pd.DataFrame":
    """Return the condition's rows, indexed by their place in the file."""
    table = table.reset_index(drop=True)
    name = find_column(table, CONDITION)
    if name is None:
        return table
    names = table[name].map(text_in)
    there = ", ".join(each or "(empty)" for each in names.unique())
    if condition is None and names.nunique() > 1:
        raise InputError(f"{path}: has several conditions; choose one by --condition: {there}")
    chosen = table if condition is None else table[names == condition]
    if chosen.empty and not table.empty:
        raise InputError(f"{path}: has no rows of the condition {condition}; it has {there}")
    return chosen


def _known(table: "pd.DataFrame") -> dict[str, tuple[str, ...]]:
    has_prediction, has_gold = (find_column(table, names) is not None for names in (PREDICTION, GOLD))
    # Beside a gold answer and a prediction, `answer` may be either; a gold answer is checked to be the same.
    return {
        "image": IMAGE,
        "question": QUESTION,
        "id": ID,
        "type": TYPE,
        "group": GROUP,
        "condition": CONDITION,
        "shown": SHOWN,
        "options": OPTIONS,
        "index": INDEX,
        "answer": GOLD if has_gold else ANSWER,
        "second answer": ANSWER if has_gold and has_prediction else (),
        "prediction": PREDICTION if has_prediction or not has_gold else ANSWER,
    }


def _columns(path: Path, there: Sequence[Any], names: dict[str, str | None]) -> dict[str, str]:
    lacking = [name for name in ("image", "prediction") if names[name] is None]
    lacking += ["question"] if names["question"] is None and names["id"] is None else []
    lacking += ["answer"] if names["answer"] is None and names["index"] is None else []
    if lacking:
        listed = ", ".join(map(str, there)) or "none"
        raise InputError(f"{path}: no column for {', '.join(lacking)}; it has {listed}; expected: {_FORMS}")
    return {key: name for key, name in names.items() if name is not None}


def _prediction(number: int, given: Mapping[Any, Any], names: Mapping[str, str], lettered: Sequence[str]) -> Prediction:
    wanted = ("question", "id", "type", "group", "condition", "shown")
    texts = {key: text_in(given[names[key]]) if key in names else "" for key in wanted}
    image = _image(given[names["image"]])
    if not image:
        raise ValueError("no image")
    if not texts["question"] and not texts["id"]:
        raise ValueError("no question")
    listed = given_options(given, names.get("options"), lettered)
    options, had_letters = unlettered([] if is_missing(listed) else read_options(listed))
    written = _single(given[names["prediction"]])
    return Prediction(
        row=number,
        image=image,
        image_group=texts["group"],
        question=" ".join(texts["question"].split()),
        qa_id=whole(texts["id"]),
        question_type=texts["type"],
        options=options,
        answer=_gold(given, names, options, had_letters),
        prediction=_meant(written, options, had_letters),
        written=written,
        condition=texts["condition"],
        shown_image=whole(texts["shown"]),
    )


def _image(cell: Any) -> str:
    """Return what identifies an image: its normalized path, its id, or the digest of embedded bytes; "" for none."""
    if isinstance(cell, Mapping):
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, bytes):
        return hashlib.sha256(cell).hexdigest()
    text = whole(text_in(cell))
    return posixpath.normpath(text) if text and "://" not in text else text


def _single(cell: Any) -> str:
    """Return a prediction's text, also out of a list of one; "" where it is missing."""
    import pandas as pd

    values = plain(cell.tolist() if hasattr(cell, "tolist") else cell)
    if isinstance(values, list | tuple) and len(values) == 1:
        values = values[0]
    if values is None or values is pd.NA or values is pd.NaT:
        return ""
    if not isinstance(values, str | bool | int | float | Decimal):
        raise ValueError(f"the prediction is a {type(values).__name__}, not a text")
    text = text_in(values)
    # str() of a missing value in pandas.
    return "" if text.lower() == "nan" else text


def _meant(text: str, options: Sequence[str], had_letters: bool) -> str:
    return meant(first_line(text), options, had_letters) if options else text


def _gold(given: Mapping[Any, Any], names: Mapping[str, str], options: Sequence[str], had_letters: bool) -> str:
    if "answer" not in names:
        index = whole(text_in(given[names["index"]]))
        if index not in map(str, range(len(options))):
            raise ValueError(f"the index {index!r} is not in 0 to {len(options) - 1}")
        return options[int(index)]
    answer = _meant(_single(given[names["answer"]]), options, had_letters)
    if not normalize(answer):
        raise ValueError("no gold answer")
    if options and normalize(answer) not in map(normalize, options):
        raise ValueError(f"the gold answer {answer!r} is none of the options {', '.join(options)}")
    _check_second(given, names, answer, options, had_letters)
    return answer


def _check_second(
    given: Mapping[Any, Any], names: Mapping[str, str], gold: str, options: Sequence[str], had_letters: bool
) -> None:
    """Raise ValueError if `answer` is not the gold answer of another column: one of them may be something else."""
    if "second answer" not in names:
        return
    second = _meant(_single(given[names["second answer"]]), options, had_letters)
    if normalize(second) not in ("", normalize(gold)):
        raise ValueError(
            f"the columns {names['answer']} and {names['second answer']} are both read as the gold answer, but have "
            f"{gold!r} and {second!r}; drop the one that is not"
        )
