"""Near-duplicate images: perceptual hashes, and groups of images with similar hashes or pixels."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from abo_vqa.splits.crops import crop_pairs
from abo_vqa.splits.pixels import Thumbnails, equal_frames

Hashes = NDArray[np.uint64]

_BLOCK = 1024  # rows of the distance matrix at a time: 100 MB at 12,000 images
# Whole images are compared with a threshold lower by this, since other ways to shrink an image change as much.
_SHRINKING = 0.01

Key = TypeVar("Key", bound=Hashable)


def perceptual_hash(image: Image.Image) -> int:
    """Return the 64-bit perceptual hash (DCT) of an image."""
    # Imported here: only the split stage needs it.
    import imagehash

    bits = imagehash.phash(image).hash
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_duplicate_groups(
    images: Mapping[str, int], thumbnails: Mapping[str, Thumbnails], bits: int, correlation: float
) -> dict[str, str]:
    """Return the group of every image, named by its smallest id.

    images: id to 64-bit hash. Two images share a group if their hashes differ in at most `bits` bits, or if their
    pixels correlate more than `correlation`: as they are, mirrored, cropped, shifted, or several of these.
    """
    names = sorted(images)
    hashes = np.array([images[name] for name in names], np.uint64)
    near = [np.add(np.argwhere(distances <= bits), (start, 0)) for start, distances in _distances(hashes, hashes)]
    if names:
        seen = np.stack([thumbnails[name] for name in names])
        near += [equal_frames(seen, correlation - _SHRINKING), crop_pairs(seen, correlation)]
    return connected(names, ((names[first], names[second]) for pairs in near for first, second in pairs.tolist()))


def connected(keys: Iterable[Key], pairs: Iterable[tuple[Key, Key]]) -> dict[Key, Key]:
    """Return the connected component of every key, named by the first of its keys."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    places = {key: place for place, key in enumerate(keys)}
    edges = np.array([(places[first], places[second]) for first, second in pairs], int).reshape(-1, 2).T
    graph = coo_array((np.ones(edges.shape[1], bool), tuple(edges)), shape=(len(places), len(places)))
    labels = connected_components(graph, directed=False)[1]
    first: dict[int, Key] = {}
    return {key: first.setdefault(int(label), key) for key, label in zip(places, labels, strict=True)}


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
