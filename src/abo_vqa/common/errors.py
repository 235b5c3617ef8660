"""The exception that carries a message for the user."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")


class InputError(ValueError):
    """Invalid input; the message names the file, row or parameter and the fix."""


@contextmanager
def readable_errors(name: str) -> Iterator[None]:
    """Print an InputError as `abo-vqa NAME: error: ...` on standard error and exit with status 1."""
    try:
        yield
    except InputError as error:
        print(f"abo-vqa {name}: error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


def choose(known: Mapping[str, T], name: str, parameter: str) -> T:
    """Return a registry entry by name; InputError names the parameter, all entries and the nearest one."""
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=1)
    raise InputError(
        f"{parameter}: there is no {name!r}{f', did you mean {near[0]!r}?' if near else ''}; known: {', '.join(known)}"
    )
