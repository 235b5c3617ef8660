"""Index the archive of small images in little memory, then read one image at a time."""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray
from tqdm import tqdm

from abo_vqa.catalog.shard import Damaged, Hashes, Place, gzip_lines, hashes, unpacked
from abo_vqa.catalog.tarball import AGAIN, BLOCK, member_at, members, plain_name
from abo_vqa.common.errors import InputError
from abo_vqa.common.storage import BadImage, decode_image
from abo_vqa.common.words import storable

SMALL_IMAGES = b"images/small/"
IMAGE_TABLE = "images/metadata/images.csv.gz"
_COLUMNS = ("image_id", "path")
# Hashes looked up at a time: each takes several times its bytes meanwhile.
_TOGETHER = 1 << 16
_NAMED = 3  # other members that an error lists

# Numbers of blocks, and so the largest archive: 2 TB.
_BLOCKS = np.uint32
_LARGEST = BLOCK << 32

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
        ids, blocks, self.absent, self.malformed_rows = _image_ids(table, names)
        del names  # as large as the next index
        self._ids = _Index(ids, blocks)

    def __len__(self) -> int:
        return self._size

    def __enter__(self) -> "ImageArchive":
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def find(self, image_hashes: pa.ChunkedArray) -> Positions:
        """Return the place of each image by its id's hash; -1 if it is null, not in the table or not in the archive."""
        found = self._ids.find(image_hashes.fill_null(0).to_numpy())
        found[image_hashes.is_null().to_numpy()] = -1
        return found

    def drop_ids(self) -> None:
        """Free what only find() needs, which cannot be called any more."""
        del self._ids

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
    """Positions of headers by hash, 12 bytes each; of equal hashes the first counts."""

    def __init__(self, hashes: bytearray, blocks: bytearray):
        """Take the bytes of 64-bit hashes, which are sorted in place, and of the numbers of the headers' blocks."""
        self._hashes = np.frombuffer(hashes, np.uint64)
        order = np.argsort(self._hashes, kind="stable")
        self._blocks = np.frombuffer(blocks, _BLOCKS)[order]
        del order
        self._hashes.sort()

    def __len__(self) -> int:
        return len(self._hashes)

    def repeated(self) -> int | None:
        """Return the position of a hash that occurs twice, None if there is none."""
        again = np.flatnonzero(self._hashes[1:] == self._hashes[:-1])
        return BLOCK * int(self._blocks[again[0]]) if len(again) else None

    def find(self, hashes: Hashes) -> Positions:
        """Return the position of each hash; -1 if it is unknown."""
        if not len(self):
            return np.full(len(hashes), -1)
        found = np.empty(len(hashes), np.int64)
        for start in range(0, len(hashes), _TOGETHER):
            some = hashes[start : start + _TOGETHER]
            rows = np.searchsorted(self._hashes, some)
            rows[rows == len(self)] = 0
            places = BLOCK * self._blocks[rows].astype(np.int64)
            found[start : start + _TOGETHER] = np.where(self._hashes[rows] == some, places, -1)
        return found


def _image_members(path: Path) -> tuple[_Index, Place]:
    """Return the images' places by path, without their folder, and the place of the table's content."""
    # Bytes that grow in place: many small arrays would leave the heap full of holes.
    paths, blocks = bytearray(), bytearray()
    table: Place | None = None
    others: list[bytes] = []
    if path.is_file() and path.stat().st_size > _LARGEST:
        raise InputError(f"{path}: larger than {_LARGEST:,} bytes; divide it, and draw a sample of each part")
    with tqdm(desc="images", unit=" images", mininterval=1) as progress:
        for batch in members(path):
            is_image = np.char.startswith(batch.names, SMALL_IMAGES)
            for other in np.flatnonzero(~is_image).tolist():
                if batch.names[other] == IMAGE_TABLE.encode():
                    table = Place(path, int(batch.offsets[other]), int(batch.lengths[other]))
                others += [batch.names[other]] if len(others) < _NAMED else []
            if is_image.any():
                names = pc.binary_replace_slice(pa.array(batch.names[is_image]), 0, len(SMALL_IMAGES), b"")
                paths += hashes(names.to_numpy(zero_copy_only=False)).tobytes()
                blocks += (batch.headers[is_image] // BLOCK).astype(_BLOCKS).tobytes()
            progress.update(len(batch.names))
    if table is None or not paths:
        missing = IMAGE_TABLE if table is None else f"{SMALL_IMAGES.decode()}*"
        found = ", ".join(map(os.fsdecode, others)) or "nothing else"
        raise InputError(
            f"{path}: contains no {missing}, but {found}; sample.images must be ABO's abo-images-small.tar, or an "
            "archive with the same folders"
        )
    return _Index(paths, blocks), table


def _image_ids(table: Place, names: _Index) -> tuple[bytearray, bytearray, int, int]:
    """Return hashed ids and blocks of the images in both table and archive, and counts of absent and malformed rows."""
    ids, blocks = bytearray(), bytearray()
    absent = rows = named = 0
    strange: list[Any] = []
    for batch in _image_table(table, strange):
        rows += len(batch)
        batch = batch.filter(pc.and_(*(pc.greater(pc.binary_length(column), 0) for column in batch.columns)))
        named += len(batch)
        places = names.find(hashes(_without_folder(batch["path"]).to_numpy(zero_copy_only=False)))
        known = places >= 0
        absent += int(len(known) - known.sum())
        ids += hashes(batch["image_id"].to_numpy(zero_copy_only=False))[known].tobytes()
        blocks += (places[known] // BLOCK).astype(_BLOCKS).tobytes()
    return ids, blocks, absent, len(strange) + rows - named


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
