"""A server's answers and its failures, kept in a journal."""

from collections import defaultdict
from typing import Any

from abo_vqa.common.digests import digest
from abo_vqa.common.journal import Journal

# Kinds of failures of a request; a status follows HTTP; the last one: the budget ended its retries.
HTTP, TIMEOUT, CONNECTION, BAD_RESPONSE, OUT_OF_BUDGET = "http_", "timeout", "connection", "bad_response", "budget"
CUT_SHORT = 3  # bad responses after which a request gets another key


class Kept:
    """The journal's entries: answers by image, and the kinds of the failures of each image, oldest first."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.answers: dict[str, dict[str, Any]] = {}
        self.failures: dict[str, list[str]] = defaultdict(list)
        self.entries: list[dict[str, Any]] = journal.read()
        for key, entry in zip(journal.keys(), self.entries, strict=True):
            self._sort(key, entry)

    def _sort(self, key: str, entry: dict[str, Any]) -> None:
        if "failed" in entry:
            self.failures[entry["image"]].append(entry["failed"])
        else:
            self.answers[key] = entry

    def request_key(self, key: str) -> str:
        """Return the key of the next request about an image: another one after the server's own failure.

        After a kill, a time-out, a broken connection or an answer cut short it is the same: the server may have an
        answer, and repeats it if it knows such keys. Unless what it repeats is always cut short.
        """
        kinds = self.failures[key]
        own = sum(kind.startswith(HTTP) for kind in kinds) + kinds.count(BAD_RESPONSE) // CUT_SHORT
        return digest([self._journal.path.stem, key, own])

    def answer(self, key: str, entry: dict[str, Any]) -> None:
        """Keep an answer durably."""
        self._journal.append(key, entry)
        self._sort(key, entry)

    def fail(self, key: str, kind: str, requests: int) -> dict[str, Any]:
        """Keep a failure durably and return its entry."""
        entry = {"failed": kind, "image": key, "requests": requests}
        self._journal.append(f"{key} failed {len(self.failures[key])}", entry)
        self._sort(key, entry)
        return entry
