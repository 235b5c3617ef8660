"""Errors as a person reads them."""

import sqlite3
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from abo_vqa.common.errors import readable_errors

FULL = Path("/dev/full")  # takes no byte, as a full disk


def write_sqlite(path: Path) -> None:
    with sqlite3.connect(path) as store:
        store.execute("PRAGMA max_page_count = 1")
        store.execute("CREATE TABLE one (text TEXT)")


def write_text(file: BinaryIO) -> None:
    file.write(b"x")
    file.flush()


# Only by open files: libraries remove a path at which they could not write, and that would be the device.
@pytest.mark.skipif(not FULL.is_char_device(), reason="no /dev/full on this system")
@pytest.mark.parametrize("write", [write_text, lambda file: pq.write_table(pa.table({"a": [1]}), file)])
def test_a_full_disk_is_named_whoever_meets_it(capsys: pytest.CaptureFixture[str], write) -> None:
    with pytest.raises(SystemExit) as ended, readable_errors("train"), FULL.open("wb", buffering=0) as file:
        write(file)
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert (
        said
        == "abo-vqa train: error: no space left on device; make room and run it again: what was made before is kept\n"
    )


def test_a_database_on_a_full_disk_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, readable_errors("train"):
        write_sqlite(tmp_path / "a.db")
    assert ended.value.code == 1
    assert "database or disk is full; make room and run it again" in capsys.readouterr().err


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write = sqlite3.connect(tmp_path / "mlflow.db")
    write.execute("CREATE TABLE runs (status TEXT)")
    with pytest.raises(SystemExit), readable_errors("train"):
        sqlite3.connect(f"file:{tmp_path}/mlflow.db?mode=ro", uri=True).execute("INSERT INTO runs VALUES ('x')")
    assert "chmod u+w mlflow.db" in capsys.readouterr().err


def test_a_file_that_may_not_be_written_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), readable_errors("doctor"):
        raise PermissionError(13, "Permission denied", ".dvc/tmp/lock")
    assert "error: .dvc/tmp/lock: permission denied; make it this user's (chown" in capsys.readouterr().err
    with pytest.raises(RuntimeError), readable_errors("train"):
        raise RuntimeError("permission denied for table runs")


def test_other_errors_keep_their_traceback() -> None:
    with pytest.raises(KeyError), readable_errors("train"):
        raise KeyError("what")
