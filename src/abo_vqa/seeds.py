"""Named random seeds, all derived from the one in params.yaml."""

import hashlib
import random
from collections.abc import Iterable


def derive_seed(seed: int, *names: str | int) -> int:
    """Derive the 32-bit seed of one named draw, so that adding a draw elsewhere changes nothing here."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def derive_seeds(seed: int, *names: str | int, last: Iterable[str]) -> list[int]:
    """Derive one seed for each last name; the same as derive_seed alone, several times as fast."""
    start, sha256 = "/".join(map(str, (seed, *names, ""))), hashlib.sha256
    return [int.from_bytes(sha256((start + name).encode()).digest()[:4], "big") for name in last]


def derive_rng(seed: int, *names: str | int) -> random.Random:
    """Return a generator for one named draw."""
    return random.Random(derive_seed(seed, *names))
