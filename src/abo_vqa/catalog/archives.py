"""ABO's two archives, read as published: never unpacked, never whole in memory (paper, section 2.3)."""

import csv
import io
import multiprocessing
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from PIL import Image
from tqdm import tqdm

from abo_vqa.catalog.listing import Listing
from abo_vqa.catalog.shard import Damaged, Place, Shard, gzip_lines, read_shard
from abo_vqa.catalog.tarball import AGAIN, members
from abo_vqa.catalog.uncollected import uncollected
from abo_vqa.errors import InputError

SMALL_IMAGES = "images/small/"
IMAGE_TABLE = "images/metadata/images.csv.gz"
# Packed bytes of shards below which starting a second process costs more than it saves.
_WORTH_A_PROCESS = 8_000_000


@dataclass(frozen=True)
class Malformed:
    """A line of a shard that is no listing; `line` counts from 1."""

    shard: str
    line: int
    problem: str


@dataclass(frozen=True)
class DamagedShard:
    """A shard that breaks off; `lines` before the damage were read."""

    shard: str
    lines: int
    problem: str


@dataclass
class ListingsRead:
    """All listings of an archive, with what was found on the way; lines counts the malformed ones too."""

    listings: list[Listing] = field(default_factory=list)
    malformed: list[Malformed] = field(default_factory=list)
    damaged: list[DamagedShard] = field(default_factory=list)
    shards: int = 0
    lines: int = 0

    def add(self, name: str, shard: Shard) -> None:
        """Take in what one shard held."""
        self.shards += 1
        self.lines += shard.lines
        self.listings += shard.unpack()
        self.malformed += [Malformed(name, line, problem) for line, problem in shard.malformed]
        if shard.damage is not None:
            self.damaged.append(DamagedShard(name, shard.lines, shard.damage))


@uncollected()
def read_listings(path: Path) -> ListingsRead:
    """Read every shard `listings_*.json.gz` of the listings archive, one per processor core at a time.

    Malformed lines and damaged shards are counted and named, not fatal. InputError: no such file, not a tar, truncated,
    or no shards.
    """
    with _reading(path) as shards:
        return _collected(shards)


@uncollected()
def read_catalogue(listings: Path, images: Path) -> "tuple[ListingsRead, ImageArchive]":
    """Read the listings archive and, at the same time, index the image archive; errors as of the two alone."""
    # In this order: processes are started before threads, and they have their work before this one has its own.
    with _reading(listings) as shards, ThreadPoolExecutor(1) as thread:
        index = thread.submit(ImageArchive, images)
        return _collected(shards), index.result()


def _collected(shards: Iterator[tuple[str, Shard]]) -> ListingsRead:
    found = ListingsRead()
    with tqdm(desc="listings", unit=" listings", mininterval=1) as progress:
        for name, shard in shards:
            found.add(name, shard)
            progress.update(shard.lines)
    return found


@contextmanager
def _reading(path: Path) -> Iterator[Iterator[tuple[str, Shard]]]:
    """Yield the shards with their names in the archive's order, read by other processes where that is worth it."""
    places = {
        name: Place(path, member.offset, member.length)
        for batch in members(path)
        for member in batch
        if (name := PurePosixPath(member.name).name).startswith("listings_") and name.endswith(".json.gz")
    }
    if not places:
        raise InputError(f"{path}: holds no listings_*.json.gz; sample.listings must be ABO's abo-listings.tar")
    processes = min(os.cpu_count() or 1, len(places))
    if processes == 1 or sum(place.length for place in places.values()) < _WORTH_A_PROCESS:
        yield zip(places, map(read_shard, places.values()), strict=True)
        return
    # A forked process has all modules at once; elsewhere than on Linux forking is not safe.
    start = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with ProcessPoolExecutor(processes, start) as pool:
        yield zip(places, pool.map(read_shard, places.values()), strict=True)


class ImageArchive:
    """The archive of small images: an index of offsets made in one pass, then bytes by path.

    paths: image id to path ("xx/xxxxxxxx.jpg"), for the images that the table names and the archive holds.
    absent: how many images the table names that the archive does not hold. malformed_rows: how many rows of the table
    name no image. Use it in a `with` block.
    """

    def __init__(self, path: Path):
        """Index the archive; InputError: no such file, not a tar, truncated, no table or no images."""
        self._places: dict[str, tuple[int, int]] = {}
        table: Place | None = None
        start = len(SMALL_IMAGES)
        with tqdm(desc="images", unit=" images", mininterval=1) as progress:
            for batch in members(path):
                for name, offset, length in batch:
                    if name.startswith(SMALL_IMAGES):
                        self._places[name[start:]] = offset, length
                    elif name == IMAGE_TABLE:
                        table = Place(path, offset, length)
                progress.update(len(batch))
        if table is None or not self._places:
            missing = IMAGE_TABLE if table is None else f"{SMALL_IMAGES}*"
            raise InputError(f"{path}: holds no {missing}; sample.images must be ABO's abo-images-small.tar")
        paths, self.malformed_rows = _read_image_table(table)
        absent = [key for key, place in paths.items() if place not in self._places]
        for key in absent:
            del paths[key]
        self.paths: Mapping[str, str] = paths
        self.absent = len(absent)
        self._file: BinaryIO = path.open("rb")

    def __len__(self) -> int:
        return len(self._places)

    def __enter__(self) -> "ImageArchive":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, image_path: str) -> bytes:
        """Return the bytes of one image file; KeyError for a path that the archive does not hold."""
        offset, size = self._places[image_path]
        self._file.seek(offset)
        return self._file.read(size)


def image_problem(data: bytes) -> str | None:
    """Decode an image file fully; return what is wrong with it, None if nothing is."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # PIL names the in-memory file by its address, which differs from run to run.
        return "not an image" if isinstance(error, Image.UnidentifiedImageError) else str(error)
    return None


def _read_image_table(place: Place) -> tuple[dict[str, str], int]:
    """Return the path by image id, and how many rows lack one of the two."""
    rows = csv.reader(line.decode("utf-8", "replace") for line in gzip_lines(place))
    paths: dict[str, str] = {}
    malformed = 0
    try:
        header = next(rows, [])
        if not {"image_id", "path"} <= set(header):
            raise InputError(f"{place.archive}: {IMAGE_TABLE} has no columns image_id and path; {AGAIN}")
        key, target = header.index("image_id"), header.index("path")
        last = max(key, target)
        for row in rows:
            if len(row) > last and (image_id := row[key]) and (path := row[target]):
                paths[image_id] = path
            else:
                malformed += 1
    except (Damaged, csv.Error) as error:
        raise InputError(f"{place.archive}: {IMAGE_TABLE} is truncated or damaged ({error}); {AGAIN}") from None
    return paths, malformed
