"""Read questions, with options or without, from anybody's table."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abo_vqa.commands.question_images import file_name, image_in, read_images
from abo_vqa.common.cells import (
    Options,
    answers_in,
    is_index_column,
    is_missing,
    one_answer,
    place_in,
    read_as,
    text_in,
    words_in,
)
from abo_vqa.common.columns import (
    ANSWER_OR_GOLD,
    ID,
    OPTIONS,
    TYPE,
    answer_column,
    find_column,
    find_columns,
    image_column,
    index_column,
    lettered_columns,
    options_of,
    question_column,
)
from abo_vqa.common.errors import InputError
from abo_vqa.common.table_files import GivenTable, read_table
from abo_vqa.common.words import UNREADABLE, find_markup, fold, normalize, text_of, whole
from abo_vqa.questions.repair import is_letter, meant, unlettered

_FORMS = "image, question, answer (or correct_choice_idx) and perhaps options (or choices, or option_a, option_b, ...)"
_NAMED = re.compile(r"\{[A-Za-z_]")  # a pattern of file names that takes other columns
_OFFERED = re.compile(r"(?:^|[\s(])A[).:]\s?\S.*[\s(]B[).:]\s?\S", re.IGNORECASE | re.DOTALL)  # "... A. red B. blue"

Row = dict[str, Any]


@dataclass(frozen=True)
class _Columns:
    """A table's columns; "" for one that it lacks. answer_is_index: the column of answers has indices."""

    image: str
    question: str
    options: Sequence[str]
    lettered: Sequence[str]
    answer: str
    index: str
    id: str
    type: str
    answer_is_index: bool = False


def read_question_set(path: Path, image_name: str = "{}") -> tuple[list[Row], list[str]]:
    """Return the questions of a file, and the problems of its invalid rows.

    A question has qa_id, image_id (a path, a number, or the content's digest for embedded images), image (its bytes,
    None if not embedded), image_file (its name by the pattern image_name), question_type ("all" without such a column),
    question, options, answer, answer_index. An answer is an option, its letter or number, or, in an index column, its
    index; a column of answers is one if it has nothing but indices. A row without options has an empty list of them,
    the answer as written, and no index (None). Raises InputError if the file is missing, has none of the four formats,
    lacks columns, or has two columns for one thing with different contents.
    """
    table = read_table(path).with_whole_numbers()
    columns = _columns(path, table)
    options = [_try_options(row, columns) for row in table.rows]
    texts = [list(unlettered(found.texts)[0]) if isinstance(found, Options) else [] for found in options]
    if columns.answer and is_index_column(table.column(columns.answer), texts):
        columns = _Columns(**{**vars(columns), "answer_is_index": True})
    rows, problems = [], []
    for number, (row, found) in enumerate(zip(table.rows, options, strict=True), 1):
        try:
            if isinstance(found, ValueError):
                raise found
            rows.append(_row(number, row, columns, found, image_name))
        except ValueError as error:
            problems.append(f"row {number}: {error}")
    if len({row["qa_id"] for row in rows}) < len(rows):
        raise InputError(f"{path}: the column {columns.id} has duplicate ids; rename it to number the questions")
    return rows, problems


def valid_questions(
    path: Path, source: Path | None, image_name: str, skip_bad: bool, limit: int | None = None
) -> tuple[list[Row], dict[str, bytes], list[str]]:
    """Return a table's questions, their encoded images by id, and what is wrong with the rows left out.

    source: a folder or a tar archive of images. limit: number of questions. Raises InputError if a row is wrong and not
    `skip_bad`, or if no question is left.
    """
    rows, problems = read_question_set(path, image_name)
    # With --skip-bad, later rows take the places of those left out.
    asked = rows if skip_bad else rows[:limit]
    images, wrong = read_images(asked, source)
    problems += list(wrong.values())
    if problems and not skip_bad:
        named = "; ".join(problems[:3])
        raise InputError(f"{path}: {len(problems)} problems: {named}; --skip-bad skips such rows")
    rows = [row for row in asked if row["image_id"] not in wrong][:limit]
    if not rows:
        raise InputError(f"{path}: no valid question{f': {problems[0]}' if problems else ''}")
    return rows, {row["image_id"]: images[row["image_id"]] for row in rows}, problems


def _columns(path: Path, table: GivenTable) -> _Columns:
    found = _Columns(
        image=image_column(path, table) or "",
        question=question_column(path, table) or "",
        options=find_columns(table, OPTIONS),
        lettered=lettered_columns(table),
        answer=answer_column(path, table, ANSWER_OR_GOLD) or "",
        index=index_column(path, table) or "",
        id=find_column(table, ID) or "",
        type=find_column(table, TYPE) or "",
    )
    lacking = [name for name in ("image", "question") if not getattr(found, name)]
    # An index points at options, and a single lettered column is a slip rather than a table without options.
    needs_options = len(found.lettered) == 1 or not (found.answer or found.lettered)
    lacking += ["options"] if not found.options and needs_options else []
    lacking += [] if found.answer or found.index else ["answer"]
    if lacking:
        shown = table.columns[:20]
        more = f" and {len(table.columns) - 20} more" if len(table.columns) > 20 else ""
        there = f"{', '.join(shown) or 'none'}{more}"
        raise InputError(f"{path}: no column for {', '.join(lacking)}; it has {there}; expected: {_FORMS}")
    return found


def _try_options(row: Mapping[str, Any], columns: _Columns) -> Options | ValueError:
    """Return a row's options, or what is wrong with them."""
    try:
        return options_of(row, columns.options, columns.lettered)
    except ValueError as error:
        return error


def _row(number: int, row: Mapping[str, Any], columns: _Columns, given: Options, image_name: str) -> Row:
    name, image = image_in(row[columns.image])
    question = read_as("the question", words_in, row[columns.question])
    if not name:
        raise ValueError("no image")
    if not question:
        raise ValueError("no question")
    if len(given.texts) == 1:
        raise ValueError("fewer than two options")
    if not given.texts and _OFFERED.search(question) and any(map(is_letter, answers_in(row.get(columns.answer)))):
        raise ValueError("the question has its options in its text; put them into the columns option_a, option_b, ...")
    options, lettered = unlettered(given.texts)
    if len({whole(fold(option)) for option in options}) < len(options):
        raise ValueError(f"duplicate options: {', '.join(options)}")
    answer, index = _answer(row, columns, Options(list(options), given.numbers), lettered)
    for what, text in (("question", question), ("answer", answer), *(("option", option) for option in options)):
        if UNREADABLE in text:
            raise ValueError(f"the {what} has U+FFFD, which stands for what could not be decoded; mend it")
        if markup := find_markup(text):
            raise ValueError(f"the {what} has {markup!r}, which a model reads as a special token; leave it out")
    file = name if image is not None else file_name(image_name, name, row)
    return {
        "qa_id": (whole(text_in(row[columns.id])) if columns.id else "") or str(number),
        "image_id": file if _NAMED.search(image_name) and image is None else name,
        "image": image,
        "image_file": file,
        "question_type": (words_in(row[columns.type]) if columns.type else "") or "all",
        "question": question,
        "options": list(options),
        "answer": answer,
        "answer_index": index,
    }


def _answer(row: Mapping[str, Any], columns: _Columns, options: Options, lettered: bool) -> tuple[str, int | None]:
    """Return the answer and its index among the options, None without options."""
    answer = row[columns.answer] if columns.answer else None
    index = row[columns.index] if columns.index else None
    if not options.texts:
        if not columns.answer:
            raise ValueError(f"the column {columns.index} has an index, but the row has no options")
        text = one_answer(answer)
        if not fold(text):
            as_read = f" ({answer!r} is read as missing)" if isinstance(answer, str) and answer.strip() else ""
            raise ValueError(f"no answer in the column {columns.answer}{as_read}")
        return text, None
    place = None if index is None or is_missing(index) else place_in(index, options.texts)
    if answer is not None and columns.answer_is_index:
        said = None if is_missing(answer) else place_in(answer, options.texts)
    else:
        said = None if answer is None else _place(answer, options, lettered)
        # Beside an index, an answer that is no option may be that index again.
        if said is None and place is not None and _is_number(answer, place):
            said = place
    if said is None and answer is not None and not _is_empty(answer):
        hint = "; indices are from 0, in a column answer_index" if text_of(answer).strip().isdecimal() else ""
        raise ValueError(f"the answer {answer!r} is not among the options {', '.join(options.texts)}{hint}")
    if place is not None and said is not None and place != said:
        one, other = (f"option {each + 1} ({options.texts[each]})" for each in (said, place))
        raise ValueError(f"the answer {answer!r} is {one}, but the index {text_of(index)} is {other}")
    chosen = place if said is None else said
    if chosen is None:
        raise ValueError(f"no answer in the column {columns.answer or columns.index}")
    return options.texts[chosen], chosen


def _is_empty(answer: Any) -> bool:
    return not any(answers_in(answer))


def _is_number(answer: Any, place: int) -> bool:
    return not isinstance(answer, bool | list | Mapping) and whole(text_of(answer).strip()) == str(place)


def _place(answer: Any, options: Options, lettered: bool) -> int | None:
    """Return the place of the option that an answer names by its text, letter or number; None if it is none.

    Raises ValueError if the text is one option and the number another.
    """
    # An option may be None, which is missing elsewhere.
    text = (one_answer([answer]) if isinstance(answer, str) else "") or one_answer(answer)
    # Of options with letters, "C" is the third even if another one is a C.
    meanings = [
        *([] if lettered else [text]),
        text if _has_own_labels(options.texts) else meant(text, options.texts, True),
    ]
    forms = [(said, same) for said in meanings for same in (fold, normalize)]
    found = next((places for said, same in forms if (places := _same(said, options.texts, same))), [])
    by_text = found[0] if len(found) == 1 else None
    by_number = options.numbers.get(whole(text))
    if by_text is not None and by_number is not None and by_text != by_number:
        raise ValueError(
            f"the answer {answer!r} may be option {by_text + 1} ({options.texts[by_text]}) or the one numbered so "
            f"({options.texts[by_number]}); write letters, or an index from 0 in a column answer_index"
        )
    return by_number if by_text is None else by_text


def _has_own_labels(options: Sequence[str]) -> bool:
    """Return whether all options begin with letters in no order: a letter as an answer is not their place."""
    return all(map(is_letter, options))


def _same(said: str, options: Sequence[str], same: Callable[[str], str]) -> list[int]:
    return [place for place, option in enumerate(options) if same(option) == same(said) != ""]
