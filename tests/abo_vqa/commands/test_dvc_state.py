"""What a killed DVC leaves cut off is mended, and only where no DVC works any more."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc.fs import localfs
from dvc.rwlock import rwlock
from ruamel.yaml import YAML

from abo_vqa.commands.dvc_state import mend, running_dvc
from abo_vqa.common.errors import InputError

HELD = ".dvc/tmp/rwlock"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def dvc(project: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process in the project that is called as DVC is."""
    (project / "dvc").write_text("import time; print(flush=True); time.sleep(60)")
    process = subprocess.Popen([sys.executable, "dvc"], cwd=project, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline()
    yield process
    process.kill()
    process.wait()


def take(project: Path) -> None:
    """Take a lock as DVC does; DvcException if DVC could not."""
    with rwlock(str(project / ".dvc/tmp"), localfs, "test", [], [str(project / "out")], False):
        pass


def test_without_damage_nothing_is_done(project: Path) -> None:
    assert mend(project) == []
    take(project)
    before = (project / HELD).read_bytes()
    assert mend(project) == []
    assert (project / HELD).read_bytes() == before


@pytest.mark.parametrize("text", ["", '{"write": {"/a": {"pi', "[]", '{"write": {"/a": 3}}'])
def test_a_cut_off_rwlock_is_removed_where_no_dvc_runs(project: Path, text: str) -> None:
    (project / HELD).write_text(text)
    [line] = mend(project)
    assert line == ".dvc/tmp/rwlock: removed; DVC was ended while it wrote it"
    take(project)


def test_it_is_not_touched_while_dvc_runs(project: Path, dvc: "subprocess.Popen[bytes]") -> None:
    (project / HELD).write_text("")
    with pytest.raises(InputError, match=rf"rwlock: damaged, and DVC still works here \(process {dvc.pid}\)"):
        mend(project)
    assert (project / HELD).read_text() == ""
    assert running_dvc(project) == [dvc.pid] and running_dvc(project / "below") == []


def test_locks_of_process_ids_that_are_no_dvc_are_removed_and_others_kept(
    project: Path, dvc: "subprocess.Popen[bytes]"
) -> None:
    alive, reused = {"pid": dvc.pid, "cmd": "repro"}, {"pid": os.getpid(), "cmd": "repro"}
    held = {"read": {"/a": [alive, reused], "/b": [reused]}, "write": {"/c": alive, "/d": reused}}
    (project / HELD).write_text(json.dumps(held))
    [line] = mend(project)
    assert line == f".dvc/tmp/rwlock: locks of ended processes removed ({os.getpid()})"
    assert json.loads((project / HELD).read_text()) == {"read": {"/a": [alive]}, "write": {"/c": alive}}
    assert mend(project) == []


def test_hardlink_locks_stay_until_their_dvc_is_gone(project: Path) -> None:
    (project / ".dvc/config").write_text("[core]\n    hardlink_lock = true\n")
    (project / ".dvc/tmp/lock").write_text("claim")
    assert mend(project) == [".dvc/tmp/lock: removed; the DVC that made it has ended"]
    (project / ".dvc/config").write_text("[core]\n    analytics = false\n")
    (project / ".dvc/tmp/lock").write_text(" 1\n")
    assert mend(project) == [] and (project / ".dvc/tmp/lock").exists(), "the system's own lock, gone with its process"


def stages(text: str) -> dict[str, Any]:
    return YAML(typ="safe", pure=True).load(text)["stages"]


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.83, 0.99])
def test_a_cut_off_dvc_lock_keeps_what_is_whole(root: Path, project: Path, share: float) -> None:
    # The first stages only: reading all takes seconds.
    whole = (root / "dvc.lock").read_text()
    whole = whole[: [found.start() for found in re.finditer(r"^  \w", whole, re.MULTILINE)][4]]
    committed = {name: stage | {"cmd": "older"} for name, stage in stages(whole).items()}
    with (project / "dvc.lock").open("w") as file:
        YAML().dump({"schema": "2.0", "stages": committed}, file)
    git = "git init -q && git add -A && git -c user.email=a@b.invalid -c user.name=a commit -q -m all"
    subprocess.run(git, shell=True, cwd=project, check=True)
    cut = whole[: int(len(whole) * share)].rpartition("\n")[0] + "\n    outs:"
    (project / "dvc.lock").write_text(cut if share else "")
    [line] = mend(project)
    assert line.startswith("dvc.lock: DVC was ended while it wrote it")
    after = stages((project / "dvc.lock").read_text())
    assert list(after) == list(committed)
    kept = [name for name in after if after[name] == stages(whole)[name]]
    assert kept == list(committed)[: len(kept)] and len(kept) >= int(share * len(after)) - 1
    assert all(after[name] == committed[name] for name in list(committed)[len(kept) :])
    assert mend(project) == []
