"""Durable file of a long computation's results, from which a killed run resumes."""

import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from abo_vqa.common.errors import InputError

# Keys are stored as JSON, which is ASCII: SQLite refuses the lone surrogates of some file names.
TABLE = "CREATE TABLE IF NOT EXISTS entries (place INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE, entry TEXT)"


class Journal:
    """JSON entries under unique keys, in order of insertion, in one SQLite file; opened by `open_journal`."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path, self._connection = path, connection
        self.discarded = False

    def append(self, key: str, entry: Any) -> None:
        """Add an entry, which survives a machine crash once this returns. ValueError if the key exists."""
        row = (json.dumps(key), json.dumps(entry))
        try:
            self._connection.execute("INSERT INTO entries (key, entry) VALUES (?, ?)", row)
        except sqlite3.IntegrityError:
            raise ValueError(f"{self.path}: duplicate key {key!r}") from None

    def keys(self) -> list[str]:
        """Return all keys in order of insertion."""
        return self._column("key")

    def read(self) -> list[Any]:
        """Return all entries in order of insertion."""
        return self._column("entry")

    def remove(self, key: str) -> None:
        """Delete one entry durably."""
        self._connection.execute("DELETE FROM entries WHERE key = ?", (json.dumps(key),))

    def discard(self) -> None:
        """Delete the file when the journal is closed: its entries are kept elsewhere now."""
        self.discarded = True

    def _column(self, name: str) -> list[Any]:
        rows = self._connection.execute(f"SELECT {name} FROM entries ORDER BY place").fetchall()
        try:
            return [json.loads(value) for (value,) in rows]
        except ValueError as error:
            raise sqlite3.DatabaseError(error) from error


@contextmanager
def open_journal(path: Path) -> Iterator[Journal]:
    """Open the journal at `path` exclusively; other processes wait until it is closed.

    Raises InputError if the file is damaged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_suffix(".lock"))  # Ctrl-C cannot interrupt waiting for SQLite's lock
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{path}: another process is writing it; waiting for it to end", file=sys.stderr)
        lock.acquire()
    try:
        # isolation_level=None: every statement is a transaction.
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.text_factory = bytes  # _column reports damaged text
            connection.execute("PRAGMA synchronous = EXTRA")  # with FULL a power failure can undo the last transaction
            connection.execute(TABLE)
            [found] = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if found != b"ok":
                raise sqlite3.DatabaseError(found.decode().splitlines()[-1])
            journal = Journal(path, connection)
            yield journal
        if journal.discarded:
            path.unlink()
            Path(lock.lock_file).unlink()
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:  # subclasses: a full disk, missing permissions
            raise
        raise InputError(f"{path}: damaged ({error}); delete this file to begin again without its entries") from error
    finally:
        lock.release()
