"""Read and write tables and reports: atomic writes, reproducible bytes."""

import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from socket import gethostname
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import ExifTags, Image, UnidentifiedImageError

from abo_vqa.common.errors import InputError


def temporary_path(path: Path) -> Path:
    """Return the path at which this process makes what will be at `path`; DVC and Git ignore such files."""
    return path.with_name(f".{path.name}.{os.getpid()}@{gethostname()}.tmp")


def remove_temporary(folders: Iterable[Path]) -> None:
    """Remove what processes of this host that are gone left at paths of `temporary_path`, at any depth."""
    for folder in folders:
        for path in list(folder.rglob(f".*@{gethostname()}.tmp")):
            pid = path.name.rpartition("@")[0].rpartition(".")[2]
            if pid.isdigit() and not psutil.pid_exists(int(pid)):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` atomically if the block succeeds.

    If the block raises or the process is killed, `path` is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a report: sorted keys, two-space indent, trailing newline; a lone surrogate as JSON's escape."""
    with replacing(path) as temporary:
        text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def write_json_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line; ASCII, so that a lone surrogate in a model's output survives."""
    with replacing(path) as temporary, temporary.open("w", encoding="ascii") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)


def read_json_lines(path: Path, made_by: str) -> list[dict[str, Any]]:
    """Read JSON lines; InputError names an invalid line, or the stage that makes a missing file."""
    rows = []
    with require(path, made_by).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise InputError(f"{path}, line {number}: not JSON ({error}); run {made_by} again") from None
    return rows


def write_table(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Write rows as Parquet with a fixed schema, so that an empty table has columns too."""
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), temporary)


def read_table(path: Path, made_by: str, columns: list[str] | None = None) -> list[dict[str, Any]]:
    """Read a Parquet table as rows; InputError names the stage that makes it if it is missing or unreadable."""
    try:
        return pq.read_table(require(path, made_by), columns=columns).to_pylist()
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: not a readable Parquet file ({error}); run {made_by} again") from None


def read_rows(path: Path, made_by: str, columns: list[str], start: int, stop: int) -> list[dict[str, Any]]:
    """Read some rows of a Parquet table; of the others only those that are stored together with them."""
    with pq.ParquetFile(require(path, made_by)) as file:
        groups: list[int] = []
        first = before = 0
        for number in range(file.num_row_groups):
            end = before + file.metadata.row_group(number).num_rows
            if before < stop and end > start:
                first = first if groups else before
                groups.append(number)
            before = end
        return file.read_row_groups(groups, columns).slice(start - first, stop - start).to_pylist()


def read_schema(path: Path, made_by: str) -> pa.Schema:
    """Return a Parquet table's schema without the writer's metadata."""
    return pq.read_schema(require(path, made_by)).remove_metadata()


def require(path: Path, made_by: str) -> Path:
    """Return `path` if the file exists, else raise InputError naming the stage that makes it."""
    if not path.is_file():
        raise InputError(f"{path}: not found; the stage {made_by} makes it: dvc repro {made_by}")
    return path


class BadImage(ValueError):
    """Bytes that Pillow cannot decode; the message is the reason, the same in every run."""


class TooManyPixels(BadImage):
    """An image that declares more pixels than Pillow agrees to decode."""


class NotAnImage(BadImage):
    """Bytes of no format that Pillow knows, or of none that is accepted."""


def decode_image(
    data: bytes,
    formats: tuple[str, ...] | None = None,
    check_size: Callable[[int, int], None] = lambda width, height: None,
) -> Image.Image:
    """Decode an image as RGB, as every viewer shows it. This is the only place where image files are opened.

    It is turned as its EXIF data says, transparent parts are white, 16 and 32 bits become 8, and of an animation the
    first frame counts. formats: Pillow's names of those accepted; None: all. check_size: called with width and height
    before a pixel is decoded; what it raises is passed on. Raises BadImage.
    """
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            size = image.size
    except Exception as error:
        raise _bad_image(error) from None
    check_size(*size)
    try:
        with Image.open(io.BytesIO(data), formats=formats) as image:
            return _turned(image, _flat(image))
    # A broken file makes Pillow raise nearly anything: OSError, SyntaxError, ValueError, struct.error, zlib.error.
    except Exception as error:
        raise _bad_image(error) from None


# The turns that undo an EXIF orientation.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _turned(image: Image.Image, shown: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF data; the picture itself is whole
        turn = None
    return shown if turn is None else shown.transpose(turn)


def _flat(image: Image.Image) -> Image.Image:
    """Return the first frame as RGB, transparent parts white."""
    if image.mode.startswith(("I", "F")):
        return _scaled(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _scaled(image: Image.Image) -> Image.Image:
    """Return a grayscale image of 16 or 32 bits as RGB; Pillow's own conversion cuts off what is above 255.

    Integers have 16 bits unless a value needs more, and fractions are between 0 and 1; other values are scaled to
    their own range.
    """
    values = np.asarray(image).astype(np.float64)
    values = np.where(np.isfinite(values), values, 0)
    low, high = float(values.min()), float(values.max())
    most = 1.0 if image.mode == "F" else 65535.0
    if low < 0 or high > most:
        values, most = values - low, high - low
    gray = Image.fromarray(np.rint(values * (255 / (most or 1))).astype(np.uint8)).convert("RGB")
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        gray.paste("white", mask=Image.fromarray(np.asarray(image) == clear))
    return gray


def _bad_image(error: Exception) -> BadImage:
    if isinstance(error, Image.DecompressionBombError):
        return TooManyPixels(str(error))
    # The message of Pillow has the in-memory file's address, which differs between runs.
    return NotAnImage("not an image") if isinstance(error, UnidentifiedImageError) else BadImage(str(error))


def open_image(name: str, data: bytes) -> Image.Image:
    """Decode an image of the sample as RGB; InputError naming the question or image it belongs to."""
    try:
        return decode_image(data)
    except BadImage as error:
        raise InputError(f"{name}: its image cannot be read ({error}); run `dvc repro -f sample`") from None
