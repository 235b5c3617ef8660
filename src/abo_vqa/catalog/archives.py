"""Read ABO's two archives as published, without unpacking them or loading them whole (paper, section 2.3)."""

import io
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray
from tqdm import tqdm

from abo_vqa.catalog.gc_paused import gc_paused
from abo_vqa.catalog.listing import Listing
from abo_vqa.catalog.shard import COLUMNS, Damaged, Place, Shard, read_lines, read_shard, unpacked
from abo_vqa.catalog.tarball import AGAIN, members
from abo_vqa.common.errors import InputError
from abo_vqa.common.storage import BadImage, decode_image

SMALL_IMAGES = b"images/small/"
IMAGE_TABLE = "images/metadata/images.csv.gz"
# Compressed bytes of shards below which a second process costs more than it saves.
_WORTH_A_PROCESS = 8_000_000


@dataclass(frozen=True)
class Malformed:
    """An invalid line of a shard; `line` counts from 1."""

    shard: str
    line: int
    problem: str


@dataclass(frozen=True)
class DamagedShard:
    """A truncated or corrupt shard; `lines` before the damage were read."""

    shard: str
    lines: int
    problem: str


class Listings:
    """The listings of an archive: the columns that sampling needs in memory, full listings read on demand.

    table: one row per listing, in archive order: product_id, image_id, the FACTS, and its line in the shard.
    """

    def __init__(self, shards: Mapping[Place, bytes]):
        """Concatenate the columns of the shards."""
        tables = [pa.ipc.open_stream(columns).read_all() for columns in shards.values()]
        self.table = pa.concat_tables([COLUMNS.empty_table(), *tables])
        self._places = list(shards)
        self._starts = np.cumsum([0, *map(len, tables)])

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[Listing]:
        return iter(self.read(np.arange(len(self))))

    def read(self, rows: NDArray[np.int64]) -> list[Listing]:
        """Read the full listings of these rows, in their order."""
        order = np.argsort(rows)
        lines = self.table["line"].take(pa.array(rows[order])).to_numpy()
        numbers = np.split(lines, np.searchsorted(rows[order], self._starts[1:-1]))
        with _mapping(self._places) as mapped:
            shards = mapped(read_lines, self._places, [some.tolist() for some in numbers])
            found = [listing for shard in shards for listing in shard]
        return [found[place] for place in np.argsort(order)]


@dataclass
class ListingsRead:
    """All listings of an archive and its defects; `lines` includes malformed ones."""

    listings: Listings
    malformed: list[Malformed]
    damaged: list[DamagedShard]
    shards: int
    lines: int


def read_listings(path: Path) -> ListingsRead:
    """Read every shard `listings_*.json.gz` of the listings archive, in parallel over the cores.

    Malformed lines and damaged shards are counted and listed, not fatal. InputError: missing file, not a tar,
    truncated, or no shards.
    """
    places = _shards(path)
    with _mapping(list(places.values())) as mapped:
        return _collected(places, mapped(read_shard, places.values()))


@gc_paused()
def read_catalog(listings: Path, images: Path) -> "tuple[ListingsRead, ImageArchive]":
    """Read the listings archive while indexing the image archive; errors as of read_listings and ImageArchive."""
    places = _shards(listings)
    # In this order: forking is unsafe once threads run, and the processes get their work first.
    with _mapping(list(places.values())) as mapped, ThreadPoolExecutor(1) as thread:
        shards = mapped(read_shard, places.values())
        index = thread.submit(ImageArchive, images)
        return _collected(places, shards), index.result()


def _shards(path: Path) -> dict[str, Place]:
    """Return the places of the shards by name, in archive order."""
    places = {
        name: Place(path, offset, length)
        for batch in members(path)
        for member, offset, length in zip(*(column.tolist() for column in batch), strict=True)
        if (name := PurePosixPath(os.fsdecode(member)).name).startswith("listings_") and name.endswith(".json.gz")
    }
    if not places:
        raise InputError(f"{path}: contains no listings_*.json.gz; sample.listings must be ABO's abo-listings.tar")
    return places


@contextmanager
def _mapping(places: Sequence[Place]) -> Iterator[Callable[..., Iterator[Any]]]:
    """Yield a `map` over the shards: the builtin, or a process pool's if the shards are large enough."""
    processes = min(os.cpu_count() or 1, len(places))
    if processes == 1 or sum(place.length for place in places) < _WORTH_A_PROCESS:
        yield map
        return
    # A forked process need not import modules again; forking is safe on Linux only.
    start = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(processes, start) as pool:
        yield pool.map


def _collected(places: Mapping[str, Place], shards: Iterator[Shard]) -> ListingsRead:
    columns: dict[Place, bytes] = {}
    found = ListingsRead(Listings({}), [], [], len(places), 0)
    with tqdm(desc="listings", unit=" listings", mininterval=1) as progress:
        for (name, place), shard in zip(places.items(), shards, strict=True):
            columns[place] = shard.listings
            found.malformed += [Malformed(name, line, problem) for line, problem in shard.malformed]
            if shard.damage is not None:
                found.damaged.append(DamagedShard(name, shard.lines, shard.damage))
            found.lines += shard.lines
            progress.update(shard.lines)
    found.listings = Listings(columns)
    return found


class ImageArchive:
    """The archive of small images: indexed in one pass, then read one image at a time.

    An image's place is its number in the archive. absent: number of images in the table but not in the archive.
    malformed_rows: number of table rows that name no image. Use it in a `with` block.
    """

    def __init__(self, path: Path):
        """Index the archive; InputError: missing file, not a tar, truncated, no table or no images."""
        self._names, self._offsets, self._lengths, table = _image_members(path)
        rows, self.malformed_rows = _read_image_table(table)
        places = pc.index_in(rows["path"], value_set=self._names)
        self._ids, self._places = rows["image_id"].filter(places.is_valid()), places.drop_null().to_numpy()
        self.absent = places.null_count
        self._file: BinaryIO = path.open("rb")

    def __len__(self) -> int:
        return len(self._names)

    def __enter__(self) -> "ImageArchive":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @cached_property
    def paths(self) -> Mapping[str, str]:
        """The path ("xx/xxxxxxxx.jpg") by image id, of the images in both table and archive."""
        paths = self.paths_at(self._places)
        return dict(zip(self._ids.cast(pa.string()).to_pylist(), paths.to_pylist(), strict=True))

    def find(self, image_ids: pa.ChunkedArray) -> NDArray[np.int64]:
        """Return the place of each image by its id; -1 if the id is null, not in the table or not in the archive."""
        rows = pc.index_in(image_ids.cast(pa.binary()), value_set=self._ids).fill_null(-1).to_numpy()
        return np.append(self._places, -1)[rows]

    def paths_at(self, places: NDArray[np.int64]) -> pa.Array:
        """Return the paths of the images at these places."""
        return self._names.take(pa.array(places)).cast(pa.string())

    def read_at(self, place: int) -> bytes:
        """Return the bytes of the image file at a place."""
        self._file.seek(self._offsets[place])
        return self._file.read(self._lengths[place])

    def read(self, image_path: str) -> bytes:
        """Return the bytes of one image file by a linear search of the paths; KeyError for an unknown path."""
        place = pc.index(self._names, image_path.encode()).as_py()
        if place < 0:
            raise KeyError(image_path)
        return self.read_at(place)


def image_problem(data: bytes) -> str | None:
    """Decode an image file fully; return the reason if that fails, else None."""
    try:
        decode_image(data)
    except BadImage as error:
        return str(error)
    return None


def _image_members(path: Path) -> tuple[pa.Array, NDArray[np.int64], NDArray[np.int64], Place]:
    """Return the images' names without their folder, offsets and lengths, and the place of the table."""
    images = []
    table: Place | None = None
    with tqdm(desc="images", unit=" images", mininterval=1) as progress:
        for names, offsets, lengths in members(path):
            is_image = np.char.startswith(names, SMALL_IMAGES)
            for other in np.flatnonzero(~is_image).tolist():
                if names[other] == IMAGE_TABLE.encode():
                    table = Place(path, int(offsets[other]), int(lengths[other]))
            if is_image.any():
                paths = pc.binary_replace_slice(pa.array(names[is_image]), 0, len(SMALL_IMAGES), b"")
                images.append((paths, offsets[is_image], lengths[is_image]))
            progress.update(len(names))
    if table is None or not images:
        missing = IMAGE_TABLE if table is None else f"{SMALL_IMAGES.decode()}*"
        raise InputError(f"{path}: contains no {missing}; sample.images must be ABO's abo-images-small.tar")
    all_paths, all_offsets, all_lengths = zip(*images, strict=True)
    return pa.concat_arrays(all_paths), np.concatenate(all_offsets), np.concatenate(all_lengths), table


def _read_image_table(place: Place) -> tuple[pa.Table, int]:
    """Return image_id and path, in bytes, of the rows that have both, and the number of the other rows."""
    strange: list[Any] = []

    def skip(row: Any) -> str:
        strange.append(row.number)
        return "skip"

    try:
        rows = pa.csv.read_csv(
            io.BytesIO(b"".join(unpacked(place))),
            pa.csv.ReadOptions(use_threads=False),
            pa.csv.ParseOptions(ignore_empty_lines=False, invalid_row_handler=skip),
            pa.csv.ConvertOptions(column_types=dict.fromkeys(("image_id", "path"), pa.binary())),
        )
        header = set(rows.column_names)
    except (Damaged, pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise InputError(f"{place.archive}: {IMAGE_TABLE} is truncated or damaged ({error}); {AGAIN}") from None
    if not {"image_id", "path"} <= header:
        raise InputError(f"{place.archive}: {IMAGE_TABLE} has no columns image_id and path; {AGAIN}")
    named = rows.select(["image_id", "path"]).combine_chunks()
    named = named.filter(pc.and_(*(pc.greater(pc.binary_length(column), 0) for column in named.columns)))
    return named, len(strange) + len(rows) - len(named)
