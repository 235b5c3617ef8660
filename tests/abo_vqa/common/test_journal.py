"""The journal keeps every entry whose append returned, in order, for one process at a time."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abo_vqa.common.errors import InputError
from abo_vqa.common.journal import open_journal
from paths import ROOT

TEXT = st.text(st.characters(exclude_categories=()))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)

WRITER = """
import sys
from pathlib import Path
from abo_vqa.common.journal import open_journal

with open_journal(Path(sys.argv[1])) as journal:
    for number in range(len(journal.keys()), 1_000_000):
        journal.append(f"key {number}", {"number": number})
        print(number, flush=True)
"""


@given(actions=st.lists(st.tuples(TEXT, JSON, st.sampled_from(["append", "remove", "reopen"])), max_size=12))
def test_it_is_an_ordered_dictionary(tmp_path_factory: pytest.TempPathFactory, actions: list[Any]) -> None:
    path = tmp_path_factory.mktemp("journal") / "deep/journal.db"
    expected: dict[str, Any] = {}
    parts: list[list[Any]] = [[]]
    for action in actions:
        parts[-1].append(action)
        if action[2] == "reopen":
            parts.append([])
    for part in parts:
        with open_journal(path) as journal:
            assert (journal.keys(), journal.read()) == (list(expected), list(expected.values()))
            for key, entry, action in part:
                if action == "remove":
                    journal.remove(key)
                    expected.pop(key, None)
                elif key in expected:
                    with pytest.raises(ValueError, match="duplicate key"):
                        journal.append(key, entry)
                else:
                    journal.append(key, entry)
                    expected[key] = entry
            assert (journal.keys(), journal.read()) == (list(expected), list(expected.values()))


def test_a_kill_loses_nothing_that_was_appended(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    known = 0
    for kill_at in (3, 50, 120):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            last = int(line)
            if last >= kill_at:
                process.kill()
                break
        # What it had printed by its end, too.
        last = max([last, *(int(line) for line in process.stdout.read().splitlines() if line)])
        assert process.wait() == -signal.SIGKILL
        with open_journal(path) as journal:
            entries = journal.read()
            assert journal.keys() == [f"key {number}" for number in range(len(entries))]
        assert entries == [{"number": number} for number in range(len(entries))]
        assert len(entries) > last >= known
        known = len(entries)


@pytest.mark.parametrize("damage", ["other file", "cut off", "overwritten", "other text"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "journal.db"
    with open_journal(path) as journal:
        for number in range(500):
            journal.append(str(number), {"text": f"entry {number}"})
    data = path.read_bytes()
    changed = {
        "other file": b'{"a": 1}\n' * 1000,
        "cut off": data[: len(data) // 2],
        "overwritten": data[:4096] + os.urandom(len(data) - 4096),
        "other text": data.replace(b'{"text": "entry 250"}', b'{"text": "entry\xff\xff"" }'),
    }
    assert changed[damage] != data
    path.write_bytes(changed[damage])
    with pytest.raises(InputError, match=r"journal\.db: damaged \(.*delete this file"):
        with open_journal(path) as journal:
            journal.read()
    path.unlink()
    with open_journal(path) as journal:
        assert journal.read() == []


def test_a_second_writer_waits_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "journal.db"
    seen: list[list[Any]] = []

    def second() -> None:
        with open_journal(path) as journal:
            seen.append(journal.read())

    with open_journal(path) as journal:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        assert f"{path}: another process is writing it; waiting" in capsys.readouterr().err
        journal.append("a", 1)
    thread.join(10)
    assert seen == [[1]]


def test_a_discarded_journal_leaves_nothing(tmp_path):
    with open_journal(tmp_path / "work.db") as journal:
        journal.append("a", 1)
        journal.discard()
    assert list(tmp_path.iterdir()) == []
    with open_journal(tmp_path / "work.db") as journal:
        assert journal.keys() == []
