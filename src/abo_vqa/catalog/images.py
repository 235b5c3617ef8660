"""Index the archive of small images in little memory, then read one image at a time."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray
from tqdm import tqdm

from abo_vqa.catalog.shard import Damaged, Place, gzip_lines, unpacked
from abo_vqa.catalog.tarball import AGAIN, member_at, members, plain_name
from abo_vqa.common.errors import InputError
from abo_vqa.common.storage import BadImage, decode_image
from abo_vqa.common.words import storable

SMALL_IMAGES = b"images/small/"
IMAGE_TABLE = "images/metadata/images.csv.gz"
_COLUMNS = ("image_id", "path")
# Strings hashed at a time: as Python objects they take several times their bytes.
_TOGETHER = 1 << 16
_NAMED = 3  # other members that an error lists

Hashes = NDArray[np.uint64]
Positions = NDArray[np.int64]


class ImageArchive:
    """The archive of small images: indexed in one pass, then read one image at a time.

    An image's place is the position of its header in the archive. Ids and paths are compared by 64-bit hashes. absent:
    number of images in the table but not in the archive. malformed_rows: number of table rows that name no image. Use
    it in a `with` block.
    """

    def __init__(self, path: Path):
        """Index the archive; InputError: missing file, not a tar, truncated, no table, no images, or one twice."""
        names, table = _image_members(path)
        self._size = len(names)
        self._archive = tarfile.open(path, "r:")
        if (again := names.repeated()) is not None:
            raise InputError(
                f"{path}: contains {SMALL_IMAGES.decode()}{self.path_at(again)} twice; make the archive again, without "
                "tar --append or --update"
            )
        self._ids, self.absent, self.malformed_rows = _image_ids(table, names)

    def __len__(self) -> int:
        return self._size

    def __enter__(self) -> "ImageArchive":
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def find(self, image_ids: pa.ChunkedArray) -> Positions:
        """Return the place of each image by its id; -1 if the id is null, not in the table or not in the archive."""
        found = self._ids.find(_hashes(image_ids))
        found[image_ids.is_null().to_numpy()] = -1
        return found

    def path_at(self, place: int) -> str:
        """Return the path ("xx/xxxxxxxx.jpg") of the image at a place."""
        return storable(plain_name(member_at(self._archive, place).name).removeprefix(SMALL_IMAGES.decode()))

    def read_at(self, place: int) -> bytes:
        """Return the bytes of the image file at a place."""
        member = member_at(self._archive, place)
        assert self._archive.fileobj is not None
        self._archive.fileobj.seek(member.offset_data)
        return self._archive.fileobj.read(member.size)


def image_problem(data: bytes) -> str | None:
    """Decode an image file fully; return the reason if that fails, else None."""
    try:
        decode_image(data)
    except BadImage as error:
        return str(error)
    return None


class _Index:
    """Positions by hash, 16 bytes each; of equal hashes the first counts."""

    def __init__(self, hashes: list[Hashes], positions: list[Positions]):
        """Sort the batches, and empty both lists so that they are not in memory twice."""
        self._hashes = np.concatenate([np.empty(0, np.uint64), *hashes])
        hashes.clear()
        self._positions = np.concatenate([np.empty(0, np.int64), *positions])
        positions.clear()
        order = np.argsort(self._hashes, kind="stable")
        self._positions = self._positions[order]
        del order
        self._hashes.sort()

    def __len__(self) -> int:
        return len(self._hashes)

    def repeated(self) -> int | None:
        """Return the position of a hash that occurs twice, None if there is none."""
        again = np.flatnonzero(self._hashes[1:] == self._hashes[:-1])
        return int(self._positions[again[0]]) if len(again) else None

    def find(self, hashes: Hashes) -> Positions:
        """Return the position of each hash; -1 if it is unknown."""
        if not len(self):
            return np.full(len(hashes), -1)
        rows = np.searchsorted(self._hashes, hashes)
        rows[rows == len(self)] = 0
        return np.where(self._hashes[rows] == hashes, self._positions[rows], -1)


def _hashes(texts: pa.Array | pa.ChunkedArray) -> Hashes:
    """Return 64-bit hashes of texts or bytes; those of nulls mean nothing."""
    found = np.empty(len(texts), np.uint64)
    for start in range(0, len(texts), _TOGETHER):
        some = texts.slice(start, _TOGETHER).to_numpy(zero_copy_only=False)
        found[start : start + _TOGETHER] = pd.util.hash_array(some, categorize=False)
    return found


def _image_members(path: Path) -> tuple[_Index, Place]:
    """Return the images' places by path, without their folder, and the place of the table's content."""
    hashes: list[Hashes] = []
    headers: list[Positions] = []
    table: Place | None = None
    others: list[bytes] = []
    with tqdm(desc="images", unit=" images", mininterval=1) as progress:
        for batch in members(path):
            is_image = np.char.startswith(batch.names, SMALL_IMAGES)
            for other in np.flatnonzero(~is_image).tolist():
                if batch.names[other] == IMAGE_TABLE.encode():
                    table = Place(path, int(batch.offsets[other]), int(batch.lengths[other]))
                others += [batch.names[other]] if len(others) < _NAMED else []
            if is_image.any():
                hashes.append(
                    _hashes(pc.binary_replace_slice(pa.array(batch.names[is_image]), 0, len(SMALL_IMAGES), b""))
                )
                headers.append(batch.headers[is_image])
            progress.update(len(batch.names))
    if table is None or not hashes:
        missing = IMAGE_TABLE if table is None else f"{SMALL_IMAGES.decode()}*"
        found = ", ".join(map(os.fsdecode, others)) or "nothing else"
        raise InputError(
            f"{path}: contains no {missing}, but {found}; sample.images must be ABO's abo-images-small.tar, or an "
            "archive with the same folders"
        )
    return _Index(hashes, headers), table


def _image_ids(table: Place, names: _Index) -> tuple[_Index, int, int]:
    """Return the places of the images in both table and archive by id, and the numbers of absent and malformed rows."""
    hashes: list[Hashes] = []
    found: list[Positions] = []
    absent = rows = named = 0
    strange: list[Any] = []
    for batch in _image_table(table, strange):
        rows += len(batch)
        batch = batch.filter(pc.and_(*(pc.greater(pc.binary_length(column), 0) for column in batch.columns)))
        named += len(batch)
        places = names.find(_hashes(_without_folder(batch["path"])))
        known = places >= 0
        absent += int(len(known) - known.sum())
        hashes.append(_hashes(batch["image_id"])[known])
        found.append(places[known])
    return _Index(hashes, found), absent, len(strange) + rows - named


def _without_folder(paths: pa.Array) -> pa.Array:
    """Return the table's paths without "./" or the folder of the images before them, as they are in the index."""
    before = rf"^(?:\./|/)*(?:{SMALL_IMAGES.decode()})?"
    return pc.replace_substring_regex(paths, before, "")


def _image_table(place: Place, strange: list[Any]) -> Iterator[pa.RecordBatch]:
    """Yield image_id and path, in bytes, of the table's rows; rows of another width are added to `strange`."""

    def skip(row: Any) -> str:
        strange.append(row.number)
        return "skip"

    try:
        header = pa.csv.read_csv(io.BytesIO(next(gzip_lines(place), b"") + b"\n")).column_names
        if not set(_COLUMNS) <= set(header):
            raise InputError(f"{place.archive}: {IMAGE_TABLE} has no columns image_id and path; {AGAIN}")
        yield from pa.csv.open_csv(
            io.BufferedReader(_Blocks(unpacked(place))),
            pa.csv.ReadOptions(use_threads=False),
            pa.csv.ParseOptions(ignore_empty_lines=False, invalid_row_handler=skip),
            pa.csv.ConvertOptions(column_types=dict.fromkeys(_COLUMNS, pa.binary()), include_columns=_COLUMNS),
        )
    except (Damaged, pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise InputError(f"{place.archive}: {IMAGE_TABLE} is truncated or damaged ({error}); {AGAIN}") from None


class _Blocks(io.RawIOBase):
    """Blocks of bytes as a file to read once."""

    def __init__(self, blocks: Iterator[bytes]):
        self._blocks, self._rest = blocks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest and (block := next(self._blocks, None)) is not None:
            self._rest = block
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count
