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
    """Print an InputError as `abo-vqa NAME: error: ...` on standard error and exit with status 1.

    So is a disk that is full, or a file that may not be read or written, whatever library met it.
    """
    try:
        yield
    except InputError as error:
        print(f"abo-vqa {name}: error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except Exception as error:
        if (reason := _disk(error)) is None:
            raise
        print(f"abo-vqa {name}: error: {reason}", file=sys.stderr)
        raise SystemExit(1) from None


# What the system and SQLite say, and what to do; libraries pass it on in errors of many types.
_DISK = {
    "no space left on device": "make room and run it again: what was made before is kept",
    "disk quota exceeded": "make room and run it again: what was made before is kept",
    "database or disk is full": "make room and run it again: what was made before is kept",
    "read-only file system": "make the project's folder writable, or copy the project to where it is",
    "attempt to write a readonly database": "make mlflow.db writable (chmod u+w mlflow.db), or set MLFLOW_TRACKING_URI",
}


def _disk(error: BaseException | None) -> str | None:
    """Return what is wrong with the disk and how to mend it, if that is why an error was raised."""
    while error is not None:
        if isinstance(error, PermissionError):  # not by its words, which databases use for their own rights
            mend = "make it this user's (chown, chmod -R u+rwX), or copy the project to a folder of your own"
            return f"{f'{error.filename}: ' if error.filename else ''}permission denied; {mend}"
        for said, mend in _DISK.items():
            if said in str(error).lower():
                place = getattr(error, "filename", None)
                return f"{f'{place}: ' if place else ''}{said}; {mend}"
        error = error.__cause__ or error.__context__
    return None


def choose(known: Mapping[str, T], name: str, parameter: str) -> T:
    """Return a registry entry by name; InputError names the parameter, all entries and the nearest one."""
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=1)
    raise InputError(
        f"{parameter}: there is no {name!r}{f', did you mean {near[0]!r}?' if near else ''}; known: {', '.join(known)}"
    )
