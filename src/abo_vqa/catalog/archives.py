"""ABO's two archives, read as published: never unpacked, never whole in memory (paper, section 2.3)."""

import csv
import gzip
import io
import json
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from PIL import Image
from tqdm import tqdm

from abo_vqa.catalog.listing import Listing
from abo_vqa.errors import InputError

SMALL_IMAGES = "images/small/"
IMAGE_TABLE = "images/metadata/images.csv.gz"
AGAIN = "download the archive again"


@dataclass(frozen=True)
class Malformed:
    """A line of a shard that is no listing; `line` counts from 1."""

    shard: str
    line: int
    problem: str


@dataclass
class ListingsRead:
    """All listings of an archive, with what was found on the way."""

    listings: list[Listing] = field(default_factory=list)
    malformed: list[Malformed] = field(default_factory=list)
    shards: int = 0


def read_listings(path: Path) -> ListingsRead:
    """Read every shard `listings_*.json.gz` of the listings archive, line by line.

    A malformed line is counted and named, not fatal. InputError: no such file, not a tar, truncated, no
    shards, or a damaged shard.
    """
    found = ListingsRead()
    with _opened(path) as tar, tqdm(desc="listings", unit=" listings", mininterval=1) as progress:
        for member in _members(tar, path):
            name = PurePosixPath(member.name).name
            if name.startswith("listings_") and name.endswith(".json.gz"):
                found.shards += 1
                for number, line in enumerate(_gzip_lines(tar, member, path), 1):
                    _add_listing(found, name, number, line)
                    progress.update()
    if not found.shards:
        raise InputError(f"{path}: holds no listings_*.json.gz; sample.listings must be ABO's abo-listings.tar")
    return found


def _add_listing(found: ListingsRead, shard: str, number: int, line: bytes) -> None:
    try:
        found.listings.append(Listing.from_abo(json.loads(line)))
    except (ValueError, RecursionError) as error:
        problem = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        found.malformed.append(Malformed(shard, number, problem))


class ImageArchive:
    """The archive of small images: an index of offsets made in one pass, then bytes by path.

    paths: image id to path ("xx/xxxxxxxx.jpg"), for the images that the table names and the archive holds.
    absent: how many images the table names that the archive does not hold. Use it in a `with` block.
    """

    def __init__(self, path: Path):
        """Index the archive; InputError: no such file, not a tar, truncated, no table or no images."""
        self._path = path
        self._places: dict[str, tuple[int, int]] = {}
        table: dict[str, str] | None = None
        with _opened(path) as tar:
            for member in tqdm(_members(tar, path), desc="images", unit=" images", mininterval=1):
                if member.name == IMAGE_TABLE:
                    table = _read_image_table(_gzip_lines(tar, member, path), path)
                elif member.isreg() and member.name.startswith(SMALL_IMAGES):
                    self._places[member.name.removeprefix(SMALL_IMAGES)] = (member.offset_data, member.size)
        if table is None or not self._places:
            missing = IMAGE_TABLE if table is None else f"{SMALL_IMAGES}*"
            raise InputError(f"{path}: holds no {missing}; sample.images must be ABO's abo-images-small.tar")
        self.paths: Mapping[str, str] = {key: place for key, place in table.items() if place in self._places}
        self.absent = len(table) - len(self.paths)
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


def _read_image_table(lines: Iterator[bytes], path: Path) -> dict[str, str]:
    rows = csv.DictReader(line.decode("utf-8", "replace") for line in lines)
    if not {"image_id", "path"} <= set(rows.fieldnames or ()):
        raise InputError(f"{path}: {IMAGE_TABLE} has no columns image_id and path; {AGAIN}")
    return {row["image_id"]: row["path"] for row in rows if row["image_id"] and row["path"]}


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    if not path.is_file():
        raise InputError(f"{path}: not found; put ABO's archive there, or correct sample.listings / sample.images")
    try:
        tar = tarfile.open(path, "r:")
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{path}: not an uncompressed tar archive ({error}); {AGAIN}") from None
    with tar:
        yield tar


def _members(tar: tarfile.TarFile, path: Path) -> Iterator[tarfile.TarInfo]:
    """Yield the members, forgetting each (400,000 would fill half a gigabyte); InputError if truncated."""
    try:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]
            yield member
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{path}: truncated or damaged ({error}); {AGAIN}") from None
    # tarfile takes a cut between two members for the end; a whole archive ends in blocks of zeros.
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)  # type: ignore[attr-defined]
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise InputError(f"{path}: truncated or damaged (its end mark is missing); {AGAIN}")


def _gzip_lines(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> Iterator[bytes]:
    packed = tar.extractfile(member)
    try:
        if packed is None:
            raise OSError("not a regular file")
        with packed, gzip.open(packed) as lines:
            yield from lines
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: {member.name} is truncated or damaged ({error}); {AGAIN}") from None
