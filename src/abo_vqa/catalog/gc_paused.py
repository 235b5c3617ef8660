"""Pause garbage collection while many small, acyclic objects are created."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gc_paused() -> Iterator[None]:
    """Disable the cycle collector for a block, or as a decorator for a call, that creates no cycles.

    Its passes take a quarter of the time of reading a shard, and find nothing.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
