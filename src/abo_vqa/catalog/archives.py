"""Read ABO's two archives as published, without unpacking them or loading them whole (paper, section 2.3)."""

import ctypes
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tqdm import tqdm

from abo_vqa.catalog.gc_paused import gc_paused
from abo_vqa.catalog.images import ImageArchive
from abo_vqa.catalog.listing import Listing
from abo_vqa.catalog.shard import COLUMNS, Place, Shard, read_lines, read_shard
from abo_vqa.catalog.tarball import members
from abo_vqa.common.errors import InputError
from abo_vqa.common.lifetime import end_with_parent

# Compressed bytes of shards below which a second process costs more than it saves.
_WORTH_A_PROCESS = 8_000_000
_MMAP_THRESHOLD, _LARGE = -3, 1 << 20  # a parameter of glibc's mallopt(), and bytes


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
    """The listings of an archive: the columns that sampling needs in a temporary file, full listings read on demand.

    Rows are in archive order. The file is in the folder for temporary files (TMPDIR), and goes with this object.
    """

    def __init__(self) -> None:
        """Start without listings."""
        self._file = tempfile.TemporaryFile()
        self._places: list[Place] = []
        self._starts = [0]
        self._parts: list[dict[str, tuple[int, int]]] = []  # of each shard: where its columns are in the file

    def add(self, place: Place, shard: Shard) -> None:
        """Append the listings of a shard."""
        part = {}
        for name, column in shard.columns.items():
            part[name] = self._file.tell(), len(column)
            self._file.write(column)
        self._parts.append(part)
        self._places.append(place)
        self._starts.append(self._starts[-1] + shard.listings)

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[Listing]:
        return iter(self.read(np.arange(len(self))))

    def column(self, name: str) -> pa.ChunkedArray:
        """Read one of the COLUMNS of a shard, of all listings."""
        self._file.flush()
        found = [pa.ipc.open_stream(os.pread(self._file.fileno(), *reversed(part[name]))) for part in self._parts]
        empty = pa.schema([COLUMNS.field(name)]).empty_table()
        return pa.concat_tables([empty, *(stream.read_all() for stream in found)])[name].unify_dictionaries()

    def read(self, rows: NDArray[np.int64]) -> list[Listing]:
        """Read the full listings of these rows, in their order."""
        order = np.argsort(rows)
        lines = self.column("line").take(pa.array(rows[order])).to_numpy()
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


def read_listings(path: Path, stratum_text: Sequence[str] = ()) -> ListingsRead:
    """Read every shard `listings_*.json.gz` of the listings archive, in parallel over the cores.

    stratum_text: the FACTS that the column `stratum` is a hash of. Malformed lines and damaged shards are counted and
    listed, not fatal. InputError: missing file, not a tar, truncated, or no shards.
    """
    places = _shards(path)
    with _mapping(list(places.values())) as mapped:
        return _collected(places, mapped(partial(read_shard, stratum_text=stratum_text), places.values()))


@gc_paused()
def read_catalog(listings: Path, images: Path, stratum_text: Sequence[str] = ()) -> tuple[ListingsRead, ImageArchive]:
    """Read the listings archive while indexing the image archive; errors as of read_listings and ImageArchive."""
    _return_large_blocks()
    places = _shards(listings)
    # In this order: forking is unsafe once threads run, and the processes get their work first.
    with _mapping(list(places.values())) as mapped, ThreadPoolExecutor(1) as thread:
        shards = mapped(partial(read_shard, stratum_text=stratum_text), places.values())
        index = thread.submit(ImageArchive, images)
        return _collected(places, shards), index.result()


def _return_large_blocks() -> None:
    """Let freed arrays go back to the system at once, where the C library can be told so."""
    # By itself glibc raises the limit to 32 MB as such arrays are freed, and the heap keeps as much as is in use.
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, _LARGE)


def _shards(path: Path) -> dict[str, Place]:
    """Return the places of the shards by name, in archive order."""
    places: dict[str, Place] = {}
    for batch in members(path):
        for member, _, offset, length in zip(*(column.tolist() for column in batch), strict=True):
            name = PurePosixPath(os.fsdecode(member)).name
            if name.startswith("listings_") and name.endswith(".json.gz"):
                if name in places:
                    raise InputError(f"{path}: contains {name} twice; keep one of them, in one folder")
                places[name] = Place(path, offset, length)
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
    # The pool's processes wait for work for ever if this one is killed.
    with ProcessPoolExecutor(processes, start, end_with_parent, (os.getpid(),)) as pool:
        yield pool.map


def _collected(places: Mapping[str, Place], shards: Iterator[Shard]) -> ListingsRead:
    found = ListingsRead(Listings(), [], [], len(places), 0)
    with tqdm(desc="listings", unit=" listings", mininterval=1) as progress:
        for (name, place), shard in zip(places.items(), shards, strict=True):
            found.listings.add(place, shard)
            found.malformed += [Malformed(name, line, problem) for line, problem in shard.malformed]
            if shard.damage is not None:
                found.damaged.append(DamagedShard(name, shard.lines, shard.damage))
            found.lines += shard.lines
            progress.update(shard.lines)
    return found
