"""A stage ends with its DVC, however that ends, and runs once at a time in a checkout."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from abo_vqa.common.lifetime import DVC_PID, LOCKS

# What a stage does here: it writes down its process, starts a worker, and works until it is told to stop.
STAGE = """
import multiprocessing, os, sys, time
from pathlib import Path
from abo_vqa.common import lifetime, runner
from abo_vqa.common.lifetime import end_with_parent
lifetime.GRACE = 0.5

def work():
    worker = multiprocessing.get_context("fork").Process(target=idle, args=(os.getpid(),), daemon=True)
    worker.start()
    Path(sys.argv[1]).write_text(f"{os.getpid()} {worker.pid}")
    try:
        if sys.argv[2] == "deaf":
            while True:
                try:
                    time.sleep(60)
                except SystemExit:
                    continue
        time.sleep(60 if sys.argv[2] == "wait" else 0)
        worker.kill()
    finally:
        Path(sys.argv[1]).with_suffix(".ended").touch()

def idle(parent):
    if sys.argv[2] != "deaf":
        end_with_parent(parent)
    time.sleep(60)

runner.run_stage("work", work)
"""
# What stands for DVC: it runs its command by a shell, with the variable that DVC sets.
DVC = """
import os, subprocess, sys
subprocess.run(sys.argv[1:], env=os.environ | {"DVC_STAGE": "work"})
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., psutil.Process]]:
    """Start the stage by a stand-in of DVC: start(file, how) returns DVC's process once the stage is at work."""
    started: list[psutil.Process] = []
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "ABO_VQA_"))}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)

    def begin(file: str, how: str, shell: str = "sh", ready: bool = True, **more: str) -> psutil.Process:
        # A command after the stage keeps the shell from putting the stage in its own place.
        command = f'{DVC_PID}=$PPID "{sys.executable}" stage.py {file} {how}; exit $?'
        command = command.removesuffix("; exit $?") if shell == "exec" else command
        dvc = subprocess.Popen(
            [sys.executable, "-c", DVC, "sh" if shell == "exec" else shell, "-c", command],
            cwd=tmp_path, env=environment | more, stderr=(tmp_path / f"{file}.err").open("w"),
        )  # fmt: skip
        started.append(psutil.Process(dvc.pid))
        while ready and not pids(tmp_path / file):
            assert dvc.poll() is None, (tmp_path / f"{file}.err").read_text()
            time.sleep(0.02)
        return started[-1]

    (tmp_path / "stage.py").write_text(STAGE)
    yield begin
    for process in started:
        with suppress(psutil.NoSuchProcess):
            for each in [*process.children(recursive=True), process]:
                each.kill()
    for file in tmp_path.iterdir():
        for pid in pids(file) if not file.suffix else []:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()


def pids(file: Path) -> list[int]:
    """Return the process ids of the stage and of its worker once both are written."""
    found = file.read_text().split() if file.is_file() else []
    return [int(pid) for pid in found] if len(found) == 2 else []


def gone(pid: int) -> bool:
    """Whether a process ends within seconds; one that nobody waits for has ended, too."""
    for _ in range(500):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("shell", ["sh", "bash", "exec"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stage_ends_when_dvc_alone_is_ended(
    start: Callable[..., psutil.Process], tmp_path: Path, shell: str, number: int
) -> None:
    start("one", "wait", shell).send_signal(number)
    assert all(gone(pid) for pid in pids(tmp_path / "one"))
    assert (tmp_path / "one.ended").exists(), "its `with` blocks are closed"
    assert "which started this one, has ended; ending too" in (tmp_path / "one.err").read_text()


def test_a_stage_that_does_not_stop_is_killed_with_its_workers(
    start: Callable[..., psutil.Process], tmp_path: Path
) -> None:
    start("one", "deaf").kill()
    assert all(gone(pid) for pid in pids(tmp_path / "one"))


def test_workers_end_with_a_stage_that_is_killed(start: Callable[..., psutil.Process], tmp_path: Path) -> None:
    start("one", "wait")
    stage, worker = pids(tmp_path / "one")
    psutil.Process(stage).kill()
    assert gone(worker)


def test_a_stage_ends_with_the_command_that_runs_dvc(start: Callable[..., psutil.Process], tmp_path: Path) -> None:
    command = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    start("one", "wait", ABO_VQA_PIPELINE=str(command.pid))
    command.kill()
    command.wait()
    assert all(gone(pid) for pid in pids(tmp_path / "one"))
    dvc = start("two", "wait", ready=False, ABO_VQA_PIPELINE=str(command.pid))
    assert gone(dvc.pid), "the command is gone before the stage begins"
    assert not (tmp_path / "two").exists()


def test_a_stage_that_was_started_by_hand_needs_nobody(tmp_path: Path, start: Callable[..., psutil.Process]) -> None:
    start("none", "end")
    code = "import subprocess, sys; subprocess.Popen([sys.executable, 'stage.py', 'one', 'wait'])"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "ABO_VQA_"))}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    while not pids(tmp_path / "one"):
        time.sleep(0.02)
    stage, worker = (psutil.Process(pid) for pid in pids(tmp_path / "one"))
    time.sleep(0.3)
    assert stage.is_running() and worker.is_running()


def test_the_next_process_of_a_stage_waits_for_the_one_before(
    start: Callable[..., psutil.Process], tmp_path: Path
) -> None:
    first = start("one", "deaf")
    stage, worker = pids(tmp_path / "one")
    # The same stage is the one of the same arguments; with others it is not waited for.
    start("other", "wait")
    second = start("one", "deaf", ready=False)
    while "waiting for it to end" not in (said := (tmp_path / "one.err").read_text()):
        assert second.is_running()
        time.sleep(0.02)
    assert f"work-one-deaf: process {stage} still runs this stage in this folder" in said
    assert pids(tmp_path / "one") == [stage, worker]
    first.kill()
    while pids(tmp_path / "one") in ([stage, worker], []):
        time.sleep(0.02)
    assert gone(stage) and gone(worker)
    assert {path.name for path in (tmp_path / LOCKS).iterdir()} == {"work-one-deaf.lock", "work-other-wait.lock"}
