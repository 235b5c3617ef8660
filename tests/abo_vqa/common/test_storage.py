"""Tables and reports are written whole or not at all."""

import os
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest

from abo_vqa.common.errors import InputError
from abo_vqa.common.storage import (
    read_json_lines,
    read_table,
    remove_temporary,
    temporary_path,
    write_json,
    write_json_lines,
    write_table,
)

SCHEMA = pa.schema([("a", pa.int64())])


def failing_rows():
    yield {"a": 2}
    raise KeyboardInterrupt


@pytest.mark.parametrize("write", [write_json_lines, lambda path, rows: write_table(path, rows, SCHEMA)])
def test_an_interrupted_write_leaves_the_old_table_and_nothing_else(tmp_path: Path, write):
    path = tmp_path / "new folder" / "table"
    write(path, [{"a": 1}])
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        write(path, failing_rows())
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_what_is_written_is_read(tmp_path: Path):
    write_json_lines(tmp_path / "l.jsonl", [{"a": "\ud800é"}])
    assert read_json_lines(tmp_path / "l.jsonl", "stage") == [{"a": "\ud800é"}]
    write_table(tmp_path / "t.parquet", [], SCHEMA)
    assert read_table(tmp_path / "t.parquet", "stage") == []
    write_json(tmp_path / "r.json", {"b": 1, "a": {}})
    assert (tmp_path / "r.json").read_text() == '{\n  "a": {},\n  "b": 1\n}\n'


def test_a_damaged_table_names_the_stage_that_makes_it(tmp_path: Path):
    (tmp_path / "t.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match=r"t\.parquet: not a readable Parquet file.*run split again"):
        read_table(tmp_path / "t.parquet", "split")
    with pytest.raises(InputError, match="not found; the stage split makes it"):
        read_table(tmp_path / "nowhere.parquet", "split")


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path: Path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    ours, theirs = temporary_path(tmp_path / "deep/table"), tmp_path / f".other.{gone.pid}@elsewhere.tmp"
    left = ours.with_name(ours.name.replace(f".{os.getpid()}@", f".{gone.pid}@"))
    folder = left.with_name(left.name.replace(".table.", ".adapter."))
    folder.mkdir(parents=True)
    for file in (ours, theirs, left, folder / "weights", tmp_path / "deep/table"):
        file.touch()
    remove_temporary([tmp_path, tmp_path / "nowhere"])
    assert {file for file in tmp_path.rglob("*") if file.is_file()} == {ours, theirs, tmp_path / "deep/table"}
    assert not folder.exists()
