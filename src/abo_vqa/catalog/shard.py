"""One gzip member of an archive as lines, and one shard as listings: what a worker process does."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec
from isal import igzip_lib, isal_zlib

from abo_vqa.catalog.listing import Listing
from abo_vqa.catalog.uncollected import uncollected

# Packed bytes unpacked at a time: what is lost before a damaged place is at most this much.
_STEP = 4096
_GZIP = 31
_PACKED_TOGETHER = 500

_packer = msgspec.msgpack.Encoder()
_unpacker = msgspec.msgpack.Decoder(list[Listing])


class Place(NamedTuple):
    """Where the content of a member lies: the archive, its first byte, and its length in bytes."""

    archive: Path
    offset: int
    length: int


class Damaged(Exception):
    """A gzip member is truncated or damaged; what came before it has been read."""


@dataclass
class Shard:
    """What a shard held.

    listings: packed some hundreds at a time, see `unpack`. lines: read, malformed ones too. malformed: (line from 1,
    problem). damage: None if whole.
    """

    listings: list[bytes] = field(default_factory=list)
    lines: int = 0
    malformed: list[tuple[int, str]] = field(default_factory=list)
    damage: str | None = None

    def unpack(self) -> list[Listing]:
        """Return the listings in the shard's order."""
        return [listing for packed in self.listings for listing in _unpacker.decode(packed)]


@uncollected()
def read_shard(place: Place) -> Shard:
    """Read the listings of one shard up to its end or its first damage; malformed lines are named, not fatal."""
    shard = Shard()
    found: list[Listing] = []
    try:
        for shard.lines, line in enumerate(gzip_lines(place), 1):
            try:
                found.append(Listing.from_line(line))
            except (ValueError, RecursionError) as error:
                problem = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
                shard.malformed.append((shard.lines, problem))
            if len(found) == _PACKED_TOGETHER:
                # Few enough to stay in the processor's cache; a shard of a large catalogue would not.
                shard.listings.append(_packer.encode(found))
                found.clear()
    except Damaged as damage:
        shard.damage = str(damage)
    shard.listings.append(_packer.encode(found))
    return shard


def gzip_lines(place: Place) -> Iterator[bytes]:
    """Yield the lines of a gzip member, without their ends; Damaged where it breaks off, after the lines before."""
    rest = b""
    for block in _unpacked(place):
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _unpacked(place: Place) -> Iterator[bytes]:
    """Yield the unpacked blocks of one or more gzip streams behind each other, as gzip itself would."""
    unpacker = isal_zlib.decompressobj(_GZIP)
    with place.archive.open("rb") as file:
        file.seek(place.offset)
        left = place.length
        while left:
            packed = file.read(min(_STEP, left))
            left -= len(packed)
            while packed:
                if unpacker.eof:
                    packed = packed.lstrip(b"\0")  # padding is allowed
                    if not packed:
                        break
                    unpacker = isal_zlib.decompressobj(_GZIP)
                try:
                    yield unpacker.decompress(packed)
                except (igzip_lib.IsalError, OSError) as error:  # type: ignore[misc]  # its stub calls it an object
                    raise Damaged(str(error)) from None
                packed = unpacker.unused_data
    if not unpacker.eof:
        raise Damaged("it ends before its end mark")
