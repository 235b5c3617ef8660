"""Building millions of small objects without Python's cycle collector looking through all of them again and again."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Switch the cycle collector off for a block, or as a decorator for a call, that keeps what it makes.

    At ten times ABO's size its passes take a third of the time, and find nothing.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
