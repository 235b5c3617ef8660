"""Pairs of images of which one is a crop of the other, shifted, mirrored, or several of these.

The sketch of every image is looked up among the sketches of all others in a grid of frames (locality-sensitive
hashing: sign bits, random subsets of which must be equal). The best candidates of each image are aligned, which moves
the frame's edges until the pixels correlate best, and the correlation of the aligned colors decides.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from abo_vqa.splits.alignment import Candidates, align
from abo_vqa.splits.pixels import WHOLE, Frames, Pairs, Pixels, Thumbnails, mirrored, sketches

Hashes = NDArray[np.uint64]

# Crops of 10 and 20 % at five places per side, and shifts by 6 %.
_SIZES, _PLACES, _SHIFTS = (0.9, 0.8), (0.0, 0.25, 0.5, 0.75, 1.0), (-0.06, 0.0, 0.06)
# A candidate's hash differs in at most _BITS of 63 bits. Of two hashes that differ in 10, one of _TABLES subsets of
# _SUBSET bits is equal with probability 0.9, and each image is looked up in many frames.
_TABLES, _SUBSET, _BITS = 24, 14, 12
_BUCKET = 64  # entries of a table looked at for an image, so that a crowd of equal hashes costs no square of its size
_LEAST, _MOST = 0.9, 4  # least correlation of the sketches of a candidate, most candidates of an image


def crop_pairs(thumbnails: Thumbnails, correlation: float) -> Pairs:
    """Return pairs of images whose colors correlate more than that when they are aligned."""
    if len(thumbnails) < 2:
        return np.zeros((0, 2), np.int64)
    frames = _frames()
    found = candidates(sketches(thumbnails, frames))
    return align(thumbnails, found, frames, correlation)


def candidates(sketched: Pixels) -> Candidates:
    """Return the likeliest alignments of each image with others.

    sketched: shape (frames, images, coordinates), the whole image's first.
    """
    frames, count, _ = sketched.shape
    entries = sketched.reshape(frames * count, -1)
    queries = np.concatenate([sketched[0], mirrored(sketched[0])])
    rows, places = _lookup(_hashes(queries), _hashes(entries), count)
    similar = np.concatenate(
        [
            np.einsum("ij,ij->i", queries[rows[start : start + 65536]], entries[places[start : start + 65536]])
            for start in range(0, len(rows), 65536)
        ]
        or [np.zeros(0, np.float32)]
    )
    kept = similar > _LEAST
    rows, places, similar = rows[kept], places[kept], similar[kept]
    image, other = rows % count, places % count
    # The best frame of each pair, then the best others of each image.
    order = np.lexsort((places, rows, -similar, other, image))
    order = order[_first(image[order], other[order])]
    order = order[np.lexsort((other[order], -similar[order], image[order]))]
    starts = np.flatnonzero(_first(image[order]))
    rank = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
    order = order[rank < _MOST]
    return Candidates(image[order], other[order], places[order] // count, rows[order] >= count)


def _lookup(queries: Hashes, entries: Hashes, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places of pairs of near hashes, each once; none of an image with itself."""
    rng = np.random.default_rng(0)
    found = [np.zeros(0, np.int64)]
    for _ in range(_TABLES):
        mask = np.bitwise_or.reduce(np.uint64(1) << rng.choice(63, _SUBSET, replace=False).astype(np.uint64))
        keys = entries & mask
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        starts = np.searchsorted(keys, queries & mask)
        sizes = np.minimum(np.searchsorted(keys, queries & mask, side="right") - starts, _BUCKET)
        rows = np.repeat(np.arange(len(queries)), sizes)
        inside = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        places = order[starts[rows] + inside]
        near = np.bitwise_count(queries[rows] ^ entries[places]) <= _BITS
        near &= rows % count != places % count
        found.append(rows[near] * len(entries) + places[near])
    pairs = np.unique(np.concatenate(found))
    return pairs // len(entries), pairs % len(entries)


def _hashes(sketched: Pixels) -> Hashes:
    """Return the signs of each sketch as bits."""
    bits = np.packbits(np.pad(sketched > 0, ((0, 0), (1, 0))), axis=1)
    return bits.view(">u8")[:, 0].astype(np.uint64)


def _frames() -> Frames:
    shifted = [(x, 1 + x, y, 1 + y) for x in _SHIFTS for y in _SHIFTS if x or y]
    cropped = [
        (x * (1 - size), x * (1 - size) + size, y * (1 - size), y * (1 - size) + size)
        for size in _SIZES
        for x in _PLACES
        for y in _PLACES
    ]
    return np.array([WHOLE, *shifted, *cropped])


def _first(*columns: Sequence[int] | NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rows differ from the row before."""
    table = np.stack(columns, 1)
    return np.concatenate([np.ones(min(1, len(table)), bool), (table[1:] != table[:-1]).any(1)])
