"""Tables and reports on disk: written whole or not at all, and with the same bytes every time."""

import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from abo_vqa.common.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place if the block ends well.

    A block that raises, or a process that is killed, leaves what was at `path` as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a report: sorted keys, two spaces, a last newline."""
    with replacing(path) as temporary:
        text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line; ASCII, so that a lone surrogate in a model's output survives."""
    with replacing(path) as temporary, temporary.open("w", encoding="ascii") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)


def read_json_lines(path: Path, made_by: str) -> list[dict[str, Any]]:
    """Read a file of JSON objects; InputError names a broken line, or the stage that makes the file."""
    rows = []
    with require(path, made_by).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise InputError(f"{path}, line {number}: not JSON ({error}); run {made_by} again") from None
    return rows


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Write rows as Parquet under a fixed schema, so that an empty table still has its columns."""
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), temporary)


def read_table(path: Path, made_by: str, columns: list[str] | None = None) -> list[dict[str, Any]]:
    """Read a Parquet table as rows; InputError names the stage that makes it if it is not readable."""
    try:
        return pq.read_table(require(path, made_by), columns=columns).to_pylist()
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: not a readable Parquet file ({error}); run {made_by} again") from None


def read_schema(path: Path, made_by: str) -> pa.Schema:
    """Return the columns of a Parquet table, without the metadata of the library that wrote it."""
    return pq.read_schema(require(path, made_by)).remove_metadata()


def require(path: Path, made_by: str) -> Path:
    """Return `path` if the file is there; InputError naming the stage that makes it otherwise."""
    if not path.is_file():
        raise InputError(f"{path}: not found; the stage {made_by} makes it: dvc repro {made_by}")
    return path


def open_image(name: str, data: bytes) -> Image.Image:
    """Decode an image as RGB; InputError naming the question or image it belongs to."""
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except OSError as error:
        raise InputError(f"{name}: its image cannot be read ({error}); run `dvc repro sample`") from error
