"""Read one gzip member of an archive as lines, and one shard as listings, in worker processes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from isal import igzip_lib, isal_zlib
from numpy.typing import NDArray

from abo_vqa.catalog.gc_paused import gc_paused
from abo_vqa.catalog.listing import FACTS, Listing, read_facts
from abo_vqa.catalog.stratum_texts import STRATUM_TEXTS, read_stratum_texts
from abo_vqa.common.draws import digests

Hashes = NDArray[np.uint64]
# Compressed bytes unpacked at a time: at most this much is lost before a damaged place.
_STEP = 4096
_GZIP = 31
# Facts that the sampler counts; few distinct values, so they are stored as codes.
CODED = ("product_type", "brand", "color", "material")
# image: a hash of the main image's id. stratum: a hash of the facts that make up a stratum. line: in its shard, from 1.
COLUMNS = pa.schema(
    [("product_id", pa.string()), ("image", pa.uint64())]
    + [(name, pa.dictionary(pa.int32(), pa.string())) for name in CODED]
    + [("stratum", pa.uint64()), ("line", pa.int32())]
)
# Few enough rows to stay in the CPU cache while they are converted to columns.
_TOGETHER = 500


class Place(NamedTuple):
    """The location of a member's content: archive, first byte, and length in bytes."""

    archive: Path
    offset: int
    length: int


class Damaged(Exception):
    """A gzip member is truncated or corrupt; the content before the damage was read."""


@dataclass
class Shard:
    """The content of a shard.

    listings: their number. columns: each of the COLUMNS as an Arrow stream of its own. lines: number read, including
    malformed ones. malformed: (line from 1, problem). damage: None if complete.
    """

    listings: int = 0
    columns: dict[str, bytes] = field(default_factory=dict)
    lines: int = 0
    malformed: list[tuple[int, str]] = field(default_factory=list)
    damage: str | None = None


@gc_paused()
def read_shard(place: Place, stratum_text: Sequence[str] = ()) -> Shard:
    """Read the columns of one shard up to its end or its first damage; malformed lines are listed, not fatal."""
    shard, batches = Shard(), []
    # Parsed only where wanted: they are most of a listing's text.
    further = STRATUM_TEXTS if set(stratum_text) & set(STRATUM_TEXTS) else ()
    rows = _rows(place, shard, bool(further))
    plain = pa.schema([(field.name, pa.string() if field.name in CODED else field.type) for field in COLUMNS])
    while some := list(islice(rows, _TOGETHER)):
        names = ("product_id", "image_id", *FACTS, *further, "line")
        values: dict[str, Any] = dict(zip(names, zip(*some, strict=True), strict=True))
        missing = np.array([image is None for image in values["image_id"]])
        values["image"] = pa.array(hashes(values["image_id"]), mask=missing)
        values["stratum"] = strata([values[fact] for fact in stratum_text], len(some))
        batches.append(pa.record_batch([values[name] for name in COLUMNS.names], schema=plain))
    table = pa.Table.from_batches(batches, plain)
    for name in CODED:
        table = table.set_column(table.schema.get_field_index(name), name, table[name].dictionary_encode())
    shard.listings = len(table)
    for name in COLUMNS.names:
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, pa.schema([COLUMNS.field(name)])) as writer:
            writer.write_table(table.select([name]).combine_chunks())
        shard.columns[name] = stream.getvalue().to_pybytes()
    return shard


def hashes(texts: Sequence[Any]) -> Hashes:
    """Return 64-bit hashes of texts or bytes; those of None mean nothing."""
    return pd.util.hash_array(np.array(texts, object), categorize=False)


def strata(columns: Sequence[Sequence[str | None]], rows: int) -> Hashes:
    """Return a hash of each row's texts, ignoring case; a missing text counts as empty."""
    texts = zip(*columns, strict=True) if columns else repeat((), rows)
    return digests("\n".join(text or "" for text in row).lower() for row in texts)


def _rows(place: Place, shard: Shard, further: bool) -> Iterator[tuple[Any, ...]]:
    """Yield product_id, image_id, the FACTS, if wanted the STRATUM_TEXTS, and the line number.

    Line counts and defects are recorded in the shard.
    """
    try:
        for shard.lines, line in enumerate(gzip_lines(place), 1):
            try:
                yield *read_facts(line), *(read_stratum_texts(line) if further else ()), shard.lines
            except (ValueError, RecursionError) as error:
                problem = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
                shard.malformed.append((shard.lines, problem))
    except Damaged as damage:
        shard.damage = str(damage)


@gc_paused()
def read_lines(place: Place, numbers: Sequence[int]) -> list[Listing]:
    """Read the listings on some lines of a shard, ascending and valid according to read_shard."""
    wanted = set(numbers)
    lines = islice(gzip_lines(place), max(numbers, default=0))
    return [Listing.from_line(line) for number, line in enumerate(lines, 1) if number in wanted]


def gzip_lines(place: Place) -> Iterator[bytes]:
    """Yield the lines of a gzip member without line ends; raises Damaged after the last line before damage."""
    rest = b""
    for block in unpacked(place):
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    if rest:
        yield rest


def unpacked(place: Place) -> Iterator[bytes]:
    """Yield the unpacked blocks of one or more concatenated gzip streams; raises Damaged at the first damage."""
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
                except (igzip_lib.IsalError, OSError) as error:  # type: ignore[misc]  # an object in its stub
                    raise Damaged(str(error)) from None
                packed = unpacker.unused_data
    if not unpacker.eof:
        raise Damaged("it ends before its end marker")
