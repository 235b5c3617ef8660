"""Match tables of predictions question by question, never by position, and refuse those that contradict each other."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from abo_vqa.commands.prediction_files import Key, Prediction, Table
from abo_vqa.common.errors import InputError
from abo_vqa.common.words import first_line, fold, normalize
from abo_vqa.questions.repair import is_letter

# The share of lettered predictions from which a file is refused: options in another file show that there are letters.
_LETTERED, _LETTERED_WITHOUT_OPTIONS = 0.05, 0.5


def match_files(files: Mapping[Path, Sequence[Prediction]]) -> list[Table]:
    """Return each file's rows by question, all in one order, with the options, group and type that any file gives.

    A question is an image and a text, and its id where these are there more than once. An image without a group is a
    group. Raises InputError, with file and row, if a question is repeated, in one file only, or has another text, gold
    answer, type, options or shown image there, if an image has two groups, or if letters are predicted without options.
    """
    keys = _keys(list(files.values()))
    tables = {path: _by_key(path, rows, keys) for path, rows in files.items()}
    for (first, known), (path, table) in combinations(tables.items(), 2):
        _check_same(first, known, path, table)
    groups = _image_groups(files)
    _, known = next(iter(tables.items()))
    shared = {key: _shared([table[key] for table in tables.values()], groups) for key in sorted(known)}
    for path, table in tables.items():
        _check_letters(path, table, {key: fields["options"] for key, fields in shared.items()})
    return [{key: replace(table[key], **fields) for key, fields in shared.items()} for table in tables.values()]


def _image_groups(files: Mapping[Path, Sequence[Prediction]]) -> dict[str, str]:
    """Return the group of every image that has one; groups within an image would take its questions as independent."""
    found: dict[str, tuple[str, Path, int]] = {}
    for path, rows in files.items():
        for row in rows:
            if not row.image_group:
                continue
            group, first, number = found.setdefault(row.image, (row.image_group, path, row.row))
            if group != row.image_group:
                raise InputError(
                    f"{path}, row {row.row}: image {row.image} has the image group {row.image_group!r}, {group!r} in "
                    f"{first}, row {number}; an image belongs to one group: mend or drop the column"
                )
    return {image: group for image, (group, _, _) in found.items()}


def _shared(rows: Sequence[Prediction], groups: Mapping[str, str]) -> dict[str, Any]:
    return {
        "options": next((row.options for row in rows if row.options), ()),
        "image_group": groups.get(rows[0].image, rows[0].image),
        "question_type": next((row.question_type for row in rows if row.question_type), "all"),
    }


def _check_letters(path: Path, table: Table, options: Mapping[Key, Sequence[str]]) -> None:
    """Letters mean the options as they were shown: another file may have them in another order."""
    known = any(options.values())
    bare = [(row, options[key]) for key, row in table.items() if not row.options and bool(options[key]) == known]
    limit = _LETTERED if known else _LETTERED_WITHOUT_OPTIONS
    letters = [row for row, shown in bare if _has_letter(row, shown)]
    if letters and len(letters) >= limit * len(bare):
        raise InputError(
            f"{path}, row {letters[0].row}: the prediction {letters[0].prediction!r} is a letter, as {len(letters)} of "
            f"{len(bare)} are, but the file has no options; add its options"
        )


def _has_letter(row: Prediction, shown: Sequence[str]) -> bool:
    """Return whether a prediction is the letter of an option, not an answer: options and answers may be letters.

    "B" and "B) red" do not match each other.
    """
    said, gold = first_line(row.prediction), row.answer
    alike = is_letter(gold) and (len(fold(gold)) == 1) == (len(fold(said)) == 1)
    return is_letter(said) and not alike and normalize(said) not in map(normalize, shown)


def _keys(files: Sequence[Sequence[Prediction]]) -> tuple[str, ...]:
    """Return the fields that identify a question in all files."""
    with_id = all(row.qa_id for rows in files for row in rows)
    if not all(row.question for rows in files for row in rows):
        return ("image", "qa_id")
    alike = any(len({(row.image, row.question) for row in rows}) < len(rows) for rows in files)
    return ("image", "question", "qa_id") if alike and with_id else ("image", "question")


def _by_key(path: Path, rows: Sequence[Prediction], keys: Sequence[str]) -> Table:
    table: Table = {}
    for row in rows:
        key = tuple(getattr(row, name) for name in keys)
        if "" in key:
            raise InputError(f"{path}, row {row.row}: no {keys[key.index('')]}, by which other rows are matched")
        if key in table:
            raise InputError(f"{path}, row {row.row}: {_named(key)} is there twice, first in row {table[key].row}")
        table[key] = row
    return table


def _check_same(first: Path, known: Table, path: Path, table: Table) -> None:
    for one, there, other, lacking in ((first, known, path, table), (path, table, first, known)):
        if missing := [key for key in there if key not in lacking]:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise InputError(
                f"{other}: {_named(missing[0])} is missing{more}; it is in {one}, row {there[missing[0]].row}; every "
                "file must answer the same questions"
            )
    for key, row in table.items():
        if found := _contradiction(row, known[key]):
            what, new, old = found
            place = f"{first}, row {known[key].row}"
            before = f"; in {place}, they are {old}" if what == "options" else f", {old} in {place}"
            raise InputError(f"{path}, row {row.row}: {_named(key)} has the {what} {new}{before}")


def _contradiction(row: Prediction, before: Prediction) -> tuple[str, str, str] | None:
    """Return what two rows of a question contradict each other in, with both values; empty fields do not."""
    texts = {row.question, before.question} - {""}
    if len(texts) > 1 and fold(row.question) != fold(before.question):
        return "text", repr(row.question), repr(before.question)
    if row.answer != before.answer and normalize(row.answer) != normalize(before.answer):
        return "gold answer", repr(row.answer), repr(before.answer)
    # In any order.
    other = row.options != before.options and () not in (row.options, before.options)
    if other and sorted(map(normalize, row.options)) != sorted(map(normalize, before.options)):
        return "options", ", ".join(row.options), ", ".join(before.options)
    if len({fold(row.question_type), fold(before.question_type)} - {""}) > 1:
        return "question type", repr(row.question_type), repr(before.question_type)
    shown = {row.shown_image, before.shown_image} - {""}
    if len(shown) > 1 and row.condition == before.condition:
        return "shown image", repr(row.shown_image), repr(before.shown_image)
    return None


def _named(key: Key) -> str:
    image, *rest = key
    return f"question {' '.join(rest)!r} about image {image}"
