"""Find the images of a table of questions: within the table, in a folder or in a tar archive."""

import base64
import binascii
import hashlib
import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from abo_vqa.common.cells import form_of, is_missing, spelled, text_in
from abo_vqa.common.errors import InputError
from abo_vqa.common.words import whole

_DATA_URI = re.compile(r"data:image/[\w.+-]+;base64,")
# Begins of PNG, JPEG, GIF, WEBP, BMP and TIFF.
_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\x00", b"MM\x00*")
_SHORTEST = 64  # characters of an image in base64


def image_in(cell: Any) -> tuple[str, bytes | None]:
    """Return what identifies an image, "" if it is missing, and its bytes if they are in the cell.

    A cell has a path or a number, bytes (also in base64), or {"bytes": ..., "path": ...} as the library datasets
    writes, or a list of one of these. Bytes are known by their content: many tables name every image image.png. Raises
    ValueError for anything else.
    """
    if isinstance(cell, list | tuple):
        if len(cell) > 1:
            raise ValueError(f"{len(cell)} images in one row; a question is about one")
        cell = cell[0] if cell else None
    if isinstance(cell, str) and cell.lstrip().startswith("{"):
        cell = spelled(cell) or cell
    path = ""
    if isinstance(cell, Mapping):
        if not {"bytes", "path"} & set(cell):
            raise ValueError(f"the image is {form_of(cell)}, neither a path nor bytes")
        path = text_in(cell.get("path"))
        cell = path if is_missing(cell.get("bytes")) or cell["bytes"] == b"" else cell["bytes"]
    data = cell if isinstance(cell, bytes) else _decoded(cell) if isinstance(cell, str) else None
    if data:
        digest = hashlib.sha256(data).hexdigest()[:16]
        return f"{path}#{digest}" if path else digest, data
    try:
        name = whole(text_in(None if cell == b"" else cell))
    except ValueError as error:
        raise ValueError(f"the image is {error}") from None
    return posixpath.normpath(name) if name and "://" not in name else name, None


def _decoded(text: str) -> bytes | None:
    """Return the image that a text has in base64, None if it has none."""
    body = _DATA_URI.sub("", text, count=1)
    if len(body) < _SHORTEST:
        return None
    try:
        data = base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if body != text or data.startswith(_MAGIC) else None


def file_name(form: str, name: str, cells: Mapping[str, Any]) -> str:
    """Return the file of an image. form: as str.format, {} is the image's name, {column} another cell of its row.

    Raises InputError if the form does not fit.
    """
    others = {key: whole(text_in(cell)) for key, cell in cells.items() if isinstance(cell, str | int | float)}
    try:
        return form.format(name, **others)
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        raise InputError(
            f"--image-name {form}: does not fit the image {name} ({error!r}); write {{}} for the image column, "
            "{name} for the column of that name"
        ) from None


def read_images(rows: Sequence[Mapping[str, Any]], source: Path | None) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the encoded images by id, and why the others, by id, cannot be shown: missing, or unreadable.

    rows: with image_id, image (its bytes, or None) and image_file. source: a folder or an uncompressed tar archive.
    Every image is decoded once. Raises InputError if there is no source but files are named, or if a name fits two
    different files of the archive.
    """
    from abo_vqa.common.storage import BadImage, decode_image

    found = {row["image_id"]: row["image"] for row in rows if row["image"] is not None}
    wanted = {row["image_id"]: row["image_file"] for row in rows if row["image_id"] not in found}
    if wanted:
        if source is None or not source.exists():
            raise InputError(f"--images {source}: not found, but the questions name {next(iter(wanted.values()))}")
        names = set(wanted.values())
        files = _from_tar(source, names) if source.is_file() else _from_folder(source, names)
        found |= {key: files[name] for key, name in wanted.items() if name in files}
    wrong = {key: f"image {name} is not in {source}" for key, name in wanted.items() if key not in found}
    for key, data in found.items():
        try:
            decode_image(data)
        except BadImage as error:
            wrong[key] = f"image {wanted.get(key, key)} cannot be read: {error}"
    return {key: data for key, data in found.items() if key not in wrong}, wrong


def _from_folder(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    found = {}
    for name in names:
        try:
            found[name] = (folder / name).read_bytes()
        except (OSError, ValueError):  # not there, a folder, or no name of a file, such as a text of 300 letters
            continue
    return found


def _from_tar(archive: Path, names: set[str]) -> dict[str, bytes]:
    from abo_vqa.catalog.tarball import members

    found: dict[str, bytes] = {}
    places: dict[str, str] = {}
    others: dict[str, str] = {}
    with archive.open("rb") as file:
        for batch in members(archive):
            columns = (batch.names, batch.offsets, batch.lengths)
            for member, offset, length in zip(*(column.tolist() for column in columns), strict=True):
                path = os.fsdecode(member).removeprefix("./")
                # ABO's paths omit the archive's top folders.
                for name in filter(names.__contains__, _ends(path)):
                    if places.get(name) == name:
                        continue
                    file.seek(offset)
                    data = file.read(length)
                    if path != name and found.get(name, data) != data:
                        others[name] = path
                    else:
                        found[name], places[name] = data, path
    for name, other in others.items():
        if places[name] != name:
            raise InputError(
                f"--images {archive}: {places[name]} and {other} are two images of the name {name}; write whole paths "
                "in the image column"
            )
    return found


def _ends(name: str) -> Iterator[str]:
    parts = name.split("/")
    return ("/".join(parts[start:]) for start in range(len(parts)))
