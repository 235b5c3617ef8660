"""A file that keeps what a long stage has made so far, so that it goes on where it was killed."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from abo_vqa.common.errors import InputError


class Journal:
    """Append-only JSON lines, each on the disk before the next is begun; opened by `open_journal`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        """Return all entries; a last line that was cut off in the middle is removed from the file.

        Raises InputError naming a damaged line before the last one.
        """
        if not self.path.exists():
            return []
        entries = []
        whole = 0
        lines = self.path.read_bytes().splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            try:
                if not line.endswith(b"\n"):
                    raise ValueError("no end of line")
                entries.append(json.loads(line))
            except ValueError as error:
                if number == len(lines):
                    break
                raise InputError(
                    f"{self.path}, line {number}: damaged ({error}); delete this line and those after it to go on from "
                    "there, or the file to begin anew"
                ) from None
            whole += len(line)
        os.truncate(self.path, whole)
        return entries

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add an entry; when this returns, a crash of the machine does not lose it."""
        with self.path.open("ab") as file:
            file.write(json.dumps(entry).encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def open_journal(path: Path) -> Iterator[Journal]:
    """Open the journal at `path` for this process alone; another that wants it waits until it is closed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{path}: another process is writing it; waiting for it to end", file=sys.stderr)
        lock.acquire()
    try:
        yield Journal(path)
    finally:
        lock.release()
