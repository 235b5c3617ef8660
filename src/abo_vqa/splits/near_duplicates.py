"""Near-duplicate images: perceptual hashes, and groups of images with similar hashes."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from abo_vqa.common.storage import open_image

Hashes = NDArray[np.uint64]

_BLOCK = 1024  # rows of the distance matrix at a time: 100 MB at 12,000 images


def perceptual_hash(data: bytes, name: str) -> int:
    """Return the 64-bit perceptual hash (DCT) of an encoded image; InputError with `name` if it cannot be decoded."""
    # Imported here: only the split stage needs it.
    import imagehash

    bits = imagehash.phash(open_image(name, data)).hash
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_duplicate_groups(images: Mapping[str, int], bits: int) -> dict[str, str]:
    """Return the group of every image; two images whose hashes differ in at most `bits` bits share a group.

    images: id to 64-bit hash. A group is a connected component of such pairs, named by its smallest id.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names = sorted(images)
    hashes = np.array([images[name] for name in names], np.uint64)
    near = [np.add(np.argwhere(distances <= bits), (start, 0)) for start, distances in _distances(hashes, hashes)]
    rows, columns = np.concatenate([np.zeros((0, 2), int), *near]).T
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(names), len(names)))
    labels = connected_components(graph, directed=False)[1]
    first: dict[int, str] = {}
    return {name: first.setdefault(int(label), name) for name, label in zip(names, labels, strict=True)}


def least_distances(hashes: Sequence[int], others: Sequence[int]) -> NDArray[np.int64]:
    """Return each hash's Hamming distance to the nearest of `others`; 64 if `others` is empty."""
    nearest = np.full(len(hashes), 64)
    if others:
        for start, distances in _distances(np.array(hashes, np.uint64), np.array(others, np.uint64)):
            nearest[start : start + len(distances)] = distances.min(axis=1)
    return nearest


def _distances(hashes: Hashes, others: Hashes) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    for start in range(0, len(hashes), _BLOCK):
        yield start, np.bitwise_count(hashes[start : start + _BLOCK, None] ^ others[None, :])
