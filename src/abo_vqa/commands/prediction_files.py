"""Read tables of predictions from any source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abo_vqa.commands.question_images import image_in
from abo_vqa.common.cells import (
    form_of,
    is_missing,
    one_answer,
    place_in,
    read_as,
    text_in,
    words_in,
)
from abo_vqa.common.columns import (
    ANSWER,
    GOLD,
    ID,
    IMAGE,
    OPTIONS,
    TYPE,
    find_column,
    find_columns,
    index_column,
    lettered_columns,
    options_of,
    question_column,
)
from abo_vqa.common.errors import InputError
from abo_vqa.common.table_files import GivenTable, read_table
from abo_vqa.common.words import first_line, normalize, text_of, whole
from abo_vqa.questions.repair import meant, unlettered

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
    table, numbers = _under(path, read_table(path).with_whole_numbers(), condition)
    names = _columns(path, table)
    options, lettered = find_columns(table, OPTIONS), lettered_columns(table)
    if not table.rows:
        raise InputError(f"{path}: has no rows")
    rows = []
    for number, given in zip(numbers, table.rows, strict=True):
        try:
            shown = unlettered(options_of(given, options, lettered).texts)
            rows.append(_prediction(number, given, names, *shown))
        except ValueError as error:
            raise InputError(f"{path}, row {number}: {error}") from None
    for other in find_columns(table, IMAGE):
        _check_images(path, table, names["image"], other, rows)
    return rows


def _check_images(path: Path, table: GivenTable, chosen: str, other: str, rows: Sequence[Prediction]) -> None:
    """Raise InputError if an image of another column is several in the chosen one: units would not be independent."""
    seen: dict[str, Prediction] = {}
    for cell, row in zip(table.column(other), rows, strict=True):
        name, _ = image_in(cell)
        first = seen.setdefault(name, row)
        if name and first.image != row.image:
            raise InputError(
                f"{path}, row {row.row}: {name} in the column {other} is {row.image} in the column {chosen}, "
                f"{first.image} in row {first.row}; keep the column that has one value for each image"
            )


def _under(path: Path, table: GivenTable, condition: str | None) -> tuple[GivenTable, list[int]]:
    """Return the condition's rows, and their numbers in the file."""
    name = find_column(table, CONDITION)
    numbers = list(range(1, len(table.rows) + 1))
    if name is None:
        return table, numbers
    names = list(map(text_in, table.column(name)))
    there = ", ".join(each or "(empty)" for each in dict.fromkeys(names))
    if condition is None and len(set(names)) > 1:
        raise InputError(f"{path}: has several conditions; choose one by --condition: {there}")
    numbers = [number for number, each in zip(numbers, names, strict=True) if condition in (None, each)]
    if not numbers and table.rows:
        raise InputError(f"{path}: has no rows of the condition {condition}; it has {there}")
    return table.with_rows(table.rows[number - 1] for number in numbers), numbers


def _columns(path: Path, table: GivenTable) -> dict[str, str]:
    has_prediction, has_gold = (find_column(table, names) is not None for names in (PREDICTION, GOLD))
    # Beside a gold answer and a prediction, `answer` may be either; a gold answer is checked to be the same.
    known = {
        "image": IMAGE,
        "id": ID,
        "type": TYPE,
        "group": GROUP,
        "condition": CONDITION,
        "shown": SHOWN,
        "answer": GOLD if has_gold else ANSWER,
        "second answer": ANSWER if has_gold and has_prediction else (),
        "prediction": PREDICTION if has_prediction or not has_gold else ANSWER,
    }
    names = {key: find_column(table, each) for key, each in known.items()}
    names |= {"question": question_column(path, table), "index": index_column(path, table)}
    lacking = [name for name in ("image", "prediction") if names[name] is None]
    lacking += ["question"] if names["question"] is None and names["id"] is None else []
    lacking += ["answer"] if names["answer"] is None and names["index"] is None else []
    if lacking:
        listed = ", ".join(table.columns) or "none"
        raise InputError(f"{path}: no column for {', '.join(lacking)}; it has {listed}; expected: {_FORMS}")
    return {key: name for key, name in names.items() if name is not None}


def _prediction(
    number: int, given: Mapping[str, Any], names: Mapping[str, str], options: tuple[str, ...], had_letters: bool
) -> Prediction:
    wanted = ("id", "type", "group", "condition", "shown")
    texts = {key: read_as(names[key], text_in, given[names[key]]) if key in names else "" for key in wanted}
    question = read_as("the question", words_in, given[names["question"]]) if "question" in names else ""
    image, _ = image_in(given[names["image"]])
    if not image:
        raise ValueError("no image")
    if not question and not texts["id"]:
        raise ValueError("no question")
    written = _single(given[names["prediction"]])
    return Prediction(
        row=number,
        image=image,
        image_group=texts["group"],
        question=" ".join(question.split()),
        qa_id=whole(texts["id"]),
        question_type=texts["type"],
        options=options,
        answer=_gold(given, names, options, had_letters),
        prediction=_meant(written, options, had_letters),
        written=written,
        condition=texts["condition"],
        shown_image=whole(texts["shown"]),
    )


def _single(cell: Any) -> str:
    """Return a prediction's text, also out of a list of one; "" where it is missing.

    What a model wrote is not read: None and N/A may be its answers.
    """
    value = cell[0] if isinstance(cell, list | tuple) and len(cell) == 1 else cell
    if is_missing(value, within_list=True):
        return ""
    text = text_of(value)
    if not text and not isinstance(value, str):
        raise ValueError(f"the prediction is {form_of(value)}, not a text")
    return text.strip()


def _meant(text: str, options: Sequence[str], had_letters: bool) -> str:
    return meant(first_line(text), options, had_letters) if options else text


def _gold(given: Mapping[str, Any], names: Mapping[str, str], options: Sequence[str], had_letters: bool) -> str:
    place = None
    if "index" in names and not is_missing(given[names["index"]]):
        place = place_in(given[names["index"]], options)
    if "answer" not in names:
        if place is None:
            raise ValueError("no gold answer")
        return options[place]
    answer = _meant(one_answer(given[names["answer"]]), options, had_letters)
    if not normalize(answer):
        raise ValueError("no gold answer")
    if options and normalize(answer) not in map(normalize, options):
        raise ValueError(f"the gold answer {answer!r} is none of the options {', '.join(options)}")
    if place is not None and normalize(options[place]) != normalize(answer):
        raise ValueError(f"the gold answer {answer!r} is not the option of the index, {options[place]!r}")
    _check_second(given, names, answer, options, had_letters)
    return answer


def _check_second(
    given: Mapping[str, Any], names: Mapping[str, str], gold: str, options: Sequence[str], had_letters: bool
) -> None:
    """Raise ValueError if `answer` is not the gold answer of another column: one of them may be something else."""
    if "second answer" not in names:
        return
    second = _meant(one_answer(given[names["second answer"]]), options, had_letters)
    if normalize(second) not in ("", normalize(gold)):
        raise ValueError(
            f"the columns {names['answer']} and {names['second answer']} are both read as the gold answer, but have "
            f"{gold!r} and {second!r}; drop the one that is not"
        )
