"""Tables that people bring, from Parquet, CSV, JSON and JSON lines; no value passes through another type."""

import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from abo_vqa.common.cells import without_fractions
from abo_vqa.common.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
_GZIP = b"\x1f\x8b"
# Begins of files that have another format than their name says.
_LOOKS = {
    b"PAR1": "Parquet: name it .parquet",
    b"PK\x03\x04": "an Excel workbook or a zip archive: save it as CSV UTF-8, or unpack it",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save it as CSV UTF-8",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
}
_DELIMITERS = ",;\t|"
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True)
class GivenTable:
    """A file's rows in order, each with all columns; a row that lacks one has None there. CSV cells are texts."""

    columns: list[str]
    rows: list[Row]

    def column(self, name: str) -> list[Any]:
        """Return a column's cells."""
        return [row[name] for row in self.rows]

    def with_rows(self, rows: Iterable[Row]) -> "GivenTable":
        """Return other rows of these columns."""
        return GivenTable(self.columns, list(rows))

    def with_whole_numbers(self) -> "GivenTable":
        """Return the table, the columns that a gap made floats as integers again (cells.without_fractions)."""
        mended = [without_fractions(self.column(name)) for name in self.columns]
        return self.with_rows(dict(zip(self.columns, cells, strict=True)) for cells in zip(*mended, strict=True))


def read_table(path: Path) -> GivenTable:
    """Return a file's rows. CSV is separated by comma, semicolon, tab or |; a blank line is no row.

    JSON is a list of objects, objects by id (kept in the column id, unless there is one), or columns; JSON and JSON
    lines may bear each other's name. Raises InputError if the file is missing, has none of the four formats, has two
    columns of one name but for case, spaces and hyphens, or a CSV line has too many or few fields.
    """
    if not path.is_file():
        raise InputError(f"{path}: not found")
    with readable(path):
        table = _read(path)
    counts = Counter(map(column_key, table.columns))
    if alike := [name for name in table.columns if counts[column_key(name)] > 1]:
        raise InputError(
            f"{path}: the columns {', '.join(alike)} have one name but for case, spaces or hyphens; drop one"
        )
    return table


def column_key(name: str) -> str:
    """Return a column's name in lower case, with underscores for spaces, hyphens and the humps of camelCase."""
    return "_".join(_HUMP.sub(" ", name.replace("-", " ")).lower().split())


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what a file of the wrong format, or a damaged one, raises into an InputError that names it."""
    try:
        yield
    except InputError:
        raise
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise InputError(f"{path}: cannot be read: not UTF-8 (byte {byte:#04x}); save it as UTF-8") from error
    except RecursionError as error:
        raise InputError(f"{path}: cannot be read: nested too deeply") from error
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(f"{path}: truncated or damaged ({error}); copy it again") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {(str(error).splitlines() or ['damaged'])[0]}") from error


def _read(path: Path) -> GivenTable:
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        return _parquet(path)
    if kind not in ("csv", "tsv", "json", "jsonl", "ndjson"):
        raise InputError(f"{path}: none of .parquet, .csv, .tsv, .json and .jsonl, with or without .gz")
    with open_text(path) as text:
        if kind in ("csv", "tsv"):
            return _csv(text)
        return _table(_objects(text.read(), lines_first=kind != "json"))


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """Open a text, gzipped or not, in UTF-8 or what its byte order mark says; ValueError if it looks like no text."""
    with path.open("rb") as raw:
        packed = path.suffix == ".gz" or raw.read(2) == _GZIP
    with gzip.open(path) if packed else path.open("rb") as file:
        head = file.read(4)
        file.seek(0)
        if look := next((look for start, look in _LOOKS.items() if head.startswith(start)), ""):
            raise ValueError(f"this looks like {look}")
        yield io.TextIOWrapper(file, encoding=_encoding(head), newline="")  # type: ignore[type-var]


def _encoding(head: bytes) -> str:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    # Without its mark: every other byte of a name of a column is 0.
    return {b"\0": "utf-16-le"}.get(head[1:2], "utf-16-be" if head[:1] == b"\0" else "utf-8-sig")


def _parquet(path: Path) -> GivenTable:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix == ".gz":
        raise ValueError("Parquet is compressed inside; unpack it")
    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error
    # float32 becomes the shortest text that means it: 0.1 would be 0.10000000149011612 as a Python number.
    fields = [field.with_type(_without_short_floats(field.type)) for field in table.schema]
    table = table.cast(pa.schema(fields)) if fields != list(table.schema) else table
    rows = table.to_pylist(maps_as_pydicts="strict") if len(set(table.column_names)) == table.num_columns else []
    return GivenTable(list(table.column_names), rows)


def _without_short_floats(kind: "pa.DataType") -> "pa.DataType":
    import pyarrow as pa

    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(_without_short_floats(kind.value_type))
    if pa.types.is_large_list(kind):
        return pa.large_list(_without_short_floats(kind.value_type))
    return kind


def _csv(text: IO[str]) -> GivenTable:
    # A column of images in base64 has cells beyond the limit of 131,072 characters.
    csv.field_size_limit(1 << 30)
    first = text.readline()
    if first.lower().startswith("sep=") and len(first.strip("\r\n")) == 5:
        delimiter, skipped, first = first[4], 1, text.readline()
    else:
        delimiter, skipped = _delimiter(first), 0
    if first.lstrip().startswith(("{", "[")):
        raise ValueError("this looks like JSON: name it .json or .jsonl")
    reader = csv.reader(chain([first], text), delimiter=delimiter, strict=True)
    parts = _rows(reader, skipped)
    names = [name.strip() for name in next(parts, [])]
    rows, start = [], reader.line_num + 1
    for row in parts:
        # Lines that are rows of their own; not with commas, which multi-line prose has.
        lines = [line.count(delimiter) == len(names) - 1 for line in delimiter.join(row).split("\n")]
        if delimiter != "," and lines[0] and any(lines[1:]):
            raise ValueError(f"line {start + skipped}: a field goes on in the next line; a quote is not closed?")
        line, start = reader.line_num + skipped, reader.line_num + 1
        if len(row) not in (0, len(names)):
            more = "; quote fields with commas" if len(row) > len(names) else ""
            raise ValueError(f"line {line} has {len(row)} fields, the header {len(names)}{more}")
        if any(cell.strip() for cell in row):
            rows.append(row)
    if len(set(names)) < len(names):
        return GivenTable(names, [])  # refused by name
    return GivenTable(names, [dict(zip(names, row, strict=True)) for row in rows])


def _rows(reader: Any, skipped: int) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise ValueError(
            f"line {reader.line_num + skipped}: {error}; is a quote not closed, or not doubled?"
        ) from error


def _delimiter(header: str) -> str:
    return max(_DELIMITERS, key=lambda mark: len(next(csv.reader([header], delimiter=mark), [])))


def _objects(text: str, lines_first: bool) -> list[Row]:
    """Return the rows of JSON or JSON lines, whichever the text is; the error is that of the expected one."""
    ways = (lambda: [row for _, row in json_lines(text.split("\n"))], lambda: _records(_json(text)))
    first, second = ways if lines_first else ways[::-1]
    try:
        return first()
    except ValueError as expected:
        try:
            return second()
        except ValueError:
            raise expected from None


def json_lines(lines: Iterable[str]) -> Iterator[tuple[int, Row]]:
    """Yield the objects of JSON lines with their line's number; blank lines are none. ValueError names the line."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = _json(line)
        except ValueError as error:
            raise ValueError(f"line {number}: not JSON ({error})") from None
        except RecursionError:
            raise ValueError(f"line {number}: not JSON that can be read (nested too deeply)") from None
        if not isinstance(row, dict):
            raise ValueError(f"line {number}: a {type(row).__name__}, not an object of columns")
        yield number, row


def _json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: Sequence[tuple[str, Any]]) -> Row:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found


def _records(value: Any) -> list[Row]:
    """Return the rows of a JSON value: a list of objects, objects by id, columns, or one list of objects in it."""
    if isinstance(value, list):
        for number, row in enumerate(value, 1):
            if not isinstance(row, dict):
                raise ValueError(f"row {number}: a {type(row).__name__}, not an object of columns")
        return value
    if not isinstance(value, dict):
        raise ValueError(f"a {type(value).__name__}, not a list of objects")
    if set(value) == {"columns", "index", "data"}:  # pandas, orient="split"
        return [dict(zip(value["columns"], row, strict=True)) for row in value["data"]]
    lists = [each for each in value.values() if isinstance(each, list) and each and isinstance(each[0], dict)]
    if len(lists) == 1 and not any(column_key(key) in ("question", "options", "choices") for key in value):
        return _records(lists[0])
    if value and all(isinstance(column, dict) for column in value.values()):
        return _by_id(value)
    if value and all(isinstance(column, list) for column in value.values()):
        return [dict(zip(value, cells, strict=True)) for cells in zip(*value.values(), strict=True)]
    return [value]


def _by_id(value: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """Return the rows of objects by id, or of columns of cells by row, as pandas writes them."""
    labels = [list(part) for part in value.values()]
    if "question" in map(column_key, value) and all(each == labels[0] for each in labels):
        return [{name: value[name][label] for name in value} for label in labels[0]]
    has_id = any(column_key(key) in ("id", "qa_id", "question_id") for part in value.values() for key in part)
    return [dict(row) if has_id else {"id": key, **row} for key, row in value.items()]


def _table(rows: Sequence[Row]) -> GivenTable:
    columns = list(dict.fromkeys(str(key) for row in rows for key in row))
    return GivenTable(columns, [{name: row.get(name) for name in columns} for row in rows])
