"""Saved model outputs as a source of questions (paper, section 3.1), keyed by image path.

Two formats are read: JSON lines, one output per line, and CSV, one question per row. Either may be gzipped.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from abo_vqa.common.cells import is_index_column, is_missing, place_in, text_in
from abo_vqa.common.columns import (
    ANSWER_OR_GOLD,
    IMAGE_FILE,
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
from abo_vqa.common.params import Params
from abo_vqa.common.schema import RawOutput
from abo_vqa.common.table_files import json_lines, open_text, read_table, readable
from abo_vqa.common.words import fold

GENERATOR = "recorded"
NAMED = 20  # unknown images that a report lists

_LINE = 'every line must be {"image": "xx/xxxxxxxx.jpg", "output": "..."}'
_HEADER = "the header must name image, question, answer and option_a, option_b, ... (or options)"


@dataclass(frozen=True)
class Recorded:
    """The outputs kept, in product order, and counts: read = used + unknown + repeated."""

    outputs: list[RawOutput]
    read: int
    repeated: int
    unknown: list[str]
    products_without: int


def generate(rows: Sequence[dict[str, Any]], params: Params) -> tuple[list[RawOutput], dict[str, Any]]:
    """Return the recorded outputs for the sample's images, and counts."""
    assert params.generate.recorded is not None  # checked with the parameters
    products = {row["image_path"]: row["product_id"] for row in rows}
    recorded = select_recorded(Path(params.generate.recorded), products)
    counts = {
        "outputs_read": recorded.read,
        "outputs": len(recorded.outputs),
        "outputs_repeated": recorded.repeated,
        "outputs_for_unknown_images": len(recorded.unknown),
        "unknown_images": recorded.unknown[:NAMED],
        "products_without_output": recorded.products_without,
    }
    return recorded.outputs, counts


def select_recorded(path: Path, products: Mapping[str, str]) -> Recorded:
    """Keep the outputs of sampled images verbatim; of two for one image, the first.

    products: image path to product id. InputError: as read_recorded, or no output for a sampled image.
    """
    outputs: dict[str, RawOutput] = {}
    unknown: list[str] = []
    read = 0
    for output in read_recorded(path):
        read += 1
        if output.image_path not in products:
            unknown.append(output.image_path)
        else:
            outputs.setdefault(output.image_path, output)
    if not outputs:
        example = f", such as {unknown[0]}" if unknown else ""
        raise InputError(
            f"generate.recorded: {path}: none of its {read} outputs is for a sampled image{example}; "
            "give outputs for the images of sample.images, or raise sample.products"
        )
    kept = [
        replace(outputs[image], product_id=products[image])
        for image in sorted(outputs, key=lambda image: products[image])
    ]
    repeated = read - len(unknown) - len(kept)
    return Recorded(kept, read, repeated, unknown, len(products) - len(kept))


def read_recorded(path: Path) -> Iterator[RawOutput]:
    """Yield the outputs of a file in order, each with its image path in place of a product id.

    JSON lines: `image` and `output`, and optionally `model`, `seed` and `prompt` (whose digest is kept). CSV (name
    ending in .csv or .tsv, perhaps with .gz): columns image, question, answer, option_a, option_b, ... or options, and
    optionally type, by any of their names in common.columns; the rows of one image become one output. InputError:
    missing file, damaged gzip, or a line or header without these, with its number.
    """
    if not path.is_file():
        raise InputError(f"generate.recorded: {path}: not found; correct the path or set generate.source: metadata")
    try:
        yield from _read_csv(path) if {".csv", ".tsv"} & set(path.suffixes) else _read_lines(path)
    except InputError as error:
        raise InputError(f"generate.recorded: {error}") from None


def _read_lines(path: Path) -> Iterator[RawOutput]:
    with readable(path), open_text(path) as text:
        try:
            yield from (_read_line(path, number, record) for number, record in json_lines(text))
        except (InputError, UnicodeError):
            raise
        except ValueError as error:
            raise InputError(f"{path}, {error}; {_LINE}") from None


def _read_line(path: Path, number: int, record: Mapping[str, Any]) -> RawOutput:
    for key in ("image", "output"):
        if not isinstance(record.get(key), str):
            raise InputError(f"{path}, line {number}: no string {key!r}; {_LINE}")
    model, seed, prompt = (record.get(key) for key in ("model", "seed", "prompt"))
    for key, value, kind in (("model", model, str), ("seed", seed, int), ("prompt", prompt, str)):
        if value is not None and not isinstance(value, kind):
            what = "an integer" if kind is int else "a string"
            raise InputError(f"{path}, line {number}: {key!r} is not {what}; {_LINE}")
    digest = None if prompt is None else hashlib.sha256(prompt.encode(errors="replace")).hexdigest()[:16]
    return RawOutput(record["image"], record["image"], GENERATOR, seed, record["output"], model, digest)


def _read_csv(path: Path) -> Iterator[RawOutput]:
    table = read_table(path).with_whole_numbers()
    image, question = image_column(path, table, IMAGE_FILE), question_column(path, table)
    answer, index = answer_column(path, table, ANSWER_OR_GOLD), index_column(path, table)
    columns, lettered, kind = find_columns(table, OPTIONS), lettered_columns(table), find_column(table, TYPE)
    lacking = [
        name for name, found in (("image", image), ("question", question), ("answer", answer or index)) if not found
    ]
    lacking += [] if columns or len(lettered) > 1 else ["options"]
    if image is None or question is None or lacking:
        there = ", ".join(table.columns) or "none"
        raise InputError(f"{path}: no column for {', '.join(lacking)}; it has {there}; {_HEADER}")
    read = [_options(row, columns, lettered) for row in table.rows]
    if answer and is_index_column(table.column(answer), [list(options.values()) for options in read]):
        answer, index = None, answer
    entries: dict[str, list[dict[str, Any]]] = {}
    for number, (row, options) in enumerate(zip(table.rows, read, strict=True), 1):
        try:
            name = text_in(row[image])
            if not name:
                raise ValueError(f"no {image}")
            entry = {
                "question": text_in(row[question]),
                "answer": _answer(row, answer, index, options),
                # As they are where they cannot be read: validation counts them.
                "options": options or {column: row[column] for column in (*columns, *lettered)},
            }
        except ValueError as error:
            raise InputError(f"{path}, row {number}: {error}; {_HEADER}") from None
        entries.setdefault(name, []).append({"type": text_in(row[kind])} | entry if kind else entry)
    for name, questions in entries.items():
        yield RawOutput(name, name, GENERATOR, None, json.dumps({"questions": questions}, ensure_ascii=False))


def _options(row: Mapping[str, Any], columns: Sequence[str], lettered: Sequence[str]) -> dict[str, str]:
    """Return a row's options by letter, none if they cannot be read."""
    try:
        return dict(zip(ascii_uppercase, options_of(row, columns, lettered).texts, strict=False))
    except ValueError:
        return {}


def _answer(row: Mapping[str, Any], answer: str | None, index: str | None, options: Mapping[str, str]) -> str:
    """Return a row's answer as it is, or the option at its index; ValueError if they are two options."""
    given = text_in(row[answer]) if answer else ""
    if index is None or is_missing(row[index]):
        return given
    letter = list(options)[place_in(row[index], list(options.values()))]
    if fold(given) not in ("", fold(options[letter]), fold(letter)):
        raise ValueError(f"the answer {given!r} is not the option of the index, {options[letter]!r}")
    return options[letter]
