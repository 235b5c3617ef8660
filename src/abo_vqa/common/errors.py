"""The one exception that a user is meant to read."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Something given to the project is wrong; the message names the file, row or parameter and what to do."""


@contextmanager
def readable_errors(name: str) -> Iterator[None]:
    """Print an InputError as `abo-vqa NAME: error: ...` on standard error and exit with status 1."""
    try:
        yield
    except InputError as error:
        print(f"abo-vqa {name}: error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
