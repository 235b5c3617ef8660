"""Named random seeds, all derived from the one in params.yaml."""

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from random import Random

import numpy as np
from numpy.typing import NDArray


def derive_seed(seed: int, *names: str | int) -> int:
    """Derive the 32-bit seed of one named draw; adding other draws does not change it."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def derive_seeds(seed: int, *names: str | int, last: Iterable[str]) -> NDArray[np.int64]:
    """Derive one seed per name in `last`, as derive_seed does but several times as fast."""
    start = "/".join(map(str, (seed, *names, "")))
    return (digests(start + name for name in last) >> np.uint64(32)).astype(np.int64)


def digests(texts: Iterable[str]) -> NDArray[np.uint64]:
    """Return the first 64 bits of each text's SHA-256, big-endian."""
    sha256 = hashlib.sha256
    return np.frombuffer(b"".join([sha256(text.encode()).digest() for text in texts]), ">u8")[::4].astype(np.uint64)


def derive_rng(seed: int, *names: str | int) -> random.Random:
    """Return the random generator of one named draw."""
    return random.Random(derive_seed(seed, *names))


def allocate(total: int, shares: Sequence[float]) -> list[int]:
    """Divide `total` by `shares` (sum 1) with the largest-remainder method; ties go to the earlier share."""
    # Round first: 0.29 * 100 is 28.999..., and its floor is one too low.
    exact = [round(total * share, 9) for share in shares]
    counts = [int(value) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda index: (counts[index] - exact[index], index))
    for index in by_remainder[: total - sum(counts)]:
        counts[index] += 1
    return counts


def draw_others(answer: str, seen: Mapping[str, int], count: int, rng: Random) -> list[str]:
    """Draw distinct wrong values, weighted by how often each is an answer elsewhere.

    Under uniform draws, a common value would appear mostly as the answer, so picking the most common option would often
    be right.
    """
    weights = {value: seen[value] for value in sorted(seen) if value != answer}
    drawn = []
    for _ in range(count):
        [value] = rng.choices(list(weights), list(weights.values()))
        del weights[value]
        drawn.append(value)
    return drawn
