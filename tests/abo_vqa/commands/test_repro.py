"""Stages side by side: in order within a chain, each job its own GPU, none started after a failure."""

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from abo_vqa.commands import repro
from abo_vqa.common.errors import InputError

# What takes DVC's place: it writes down its stage, its GPU and when it ran.
STAND_IN = """
import os, sys, time
from pathlib import Path
stage = sys.argv[-1]
started = time.monotonic()
time.sleep(3 if stage == "long" else 0.2)
with open("log", "a") as log:
    print(stage, os.environ.get("CUDA_VISIBLE_DEVICES"), started, time.monotonic(), file=log, flush=True)
sys.exit(3 if stage == "bad" else 0)
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.py").write_text(STAND_IN)
    monkeypatch.setattr(repro, "DVC", [sys.executable, str(tmp_path / "dvc.py")])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path / "log"


def ran(log: Path) -> list[tuple[str, str, float, float]]:
    rows = [line.split() for line in log.read_text().splitlines()]
    return [(stage, gpu, float(start), float(end)) for stage, gpu, start, end in rows]


def test_chains_run_side_by_side_and_their_stages_in_order(stand_in: Path) -> None:
    repro.run_chains([["a1", "a2"], ["b1", "b2"], ["c1"]], ["0", "1"], 2)
    rows = {stage: (gpu, start, end) for stage, gpu, start, end in ran(stand_in)}
    assert set(rows) == {"a1", "a2", "b1", "b2", "c1"}
    assert rows["a1"][2] <= rows["a2"][1] and rows["b1"][2] <= rows["b2"][1]
    for gpu in ("0", "1"):
        times = sorted(each[1:] for each in rows.values() if each[0] == gpu)
        assert times, "both GPUs are used"
        assert all(one[1] <= two[0] for one, two in pairwise(times)), "by one stage at a time"


def test_nothing_is_started_after_a_failure_and_its_status_is_kept(stand_in: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        repro.run_chains([["bad", "never"], ["long", "never"], ["never"]], [], 2)
    assert ended.value.code == 3
    assert {stage for stage, *_ in ran(stand_in)} == {"bad", "long"}
    assert {gpu for _, gpu, *_ in ran(stand_in)} == {"None"}, "without a GPU nothing is hidden"


def test_a_stage_does_not_outlive_the_command(tmp_path: Path) -> None:
    stage = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)"
    dvc = tmp_path / "dvc.py"
    dvc.write_text(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {stage!r}])")
    code = (
        "import sys; from abo_vqa.commands import repro\n"
        f"repro.DVC = [sys.executable, {str(dvc)!r}]\n"
        "with repro._stopping_together(): repro.run_chains([['a'], ['b']], [], 2)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment)
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert command.poll() is None
        time.sleep(0.1)
    command.send_signal(signal.SIGTERM)
    assert command.wait() == 143
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]:
            return
        time.sleep(0.1)
    raise AssertionError("the stage still runs")


def test_a_second_command_in_the_project_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with repro._alone():
        with pytest.raises(InputError, match=rf"process {os.getpid()} runs the pipeline here already"), repro._alone():
            raise AssertionError("both run")
    with repro._alone():
        pass
