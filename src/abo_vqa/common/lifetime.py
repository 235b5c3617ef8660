"""A stage ends with the DVC that started it, and a checkout runs a stage once at a time.

`timeout`, `docker stop` and the OOM killer end DVC alone. Its stage would go on as an orphan, beside the stage that the
next `dvc repro` starts, and both would write the same checkpoints and outputs.
"""

import os
import re
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from threading import Thread

import psutil
from filelock import FileLock, Timeout

from abo_vqa.common.tracking.process import PIPELINE

TERMINATED = 128 + signal.SIGTERM
DVC_PID = "ABO_VQA_DVC"  # variable that dvc.yaml sets to the process id of the DVC that runs the stage
ENDED = "process {}, which started this one, has ended; ending too"
LOCKS = Path(".dvc/tmp/abo-vqa")
INTERVAL = 0.2  # seconds between looks
GRACE = 20.0  # seconds in which a stage may end its MLflow run; an optimizer step on a slow GPU may take most of it


def end_with_dvc() -> None:
    """Under DVC, end this process with DVC, with its parent (a shell or torchrun), or with `abo-vqa repro`.

    Raises SystemExit if one of them is gone already.
    """
    if os.environ.get("DVC_STAGE"):
        named = (os.environ.get(name, "") for name in (DVC_PID, PIPELINE))
        end_with([os.getppid(), *(int(pid) for pid in named if pid.isdigit())])


def end_with_parent(parent: int) -> None:
    """Initializer of worker processes: end this one with the process `parent`, its parent, even if that is killed."""
    if os.getppid() != parent:
        os._exit(TERMINATED)
    end_with([parent])


def end_with(pids: Iterable[int]) -> None:
    """Send this process SIGTERM once one of the processes has ended; after GRACE seconds kill it and its children.

    Raises SystemExit if one of them is gone already.
    """
    watched = []
    for pid in set(pids):
        try:
            watched.append(psutil.Process(pid))
        except psutil.NoSuchProcess:
            print(ENDED.format(pid), file=sys.stderr)
            raise SystemExit(TERMINATED) from None
    Thread(target=_outlive_none, args=(watched,), daemon=True, name="end with parents").start()


def _outlive_none(watched: list[psutil.Process]) -> None:
    while not (ended := [process.pid for process in watched if _has_ended(process)]):
        time.sleep(INTERVAL)
    with suppress(OSError):  # standard error may have ended with it
        print(ENDED.format(ended[0]), file=sys.stderr)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    os._exit(TERMINATED)


def _has_ended(process: psutil.Process) -> bool:
    # psutil's wait() goes on waiting for a zombie, which a killed DVC remains until its own parent asks for its status.
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_to_be_alone(stage: str) -> FileLock:
    """Return the lock of this stage in this checkout, after the process that has it ended; of torchrun's, the first's.

    stage: with its arguments. The system releases the lock when the process and the workers forked from it are gone,
    however they ended.
    """
    name = re.sub(r"[^\w.-]", "_", stage) + (f".{rank}" if (rank := os.environ.get("LOCAL_RANK", "0")) != "0" else "")
    LOCKS.mkdir(parents=True, exist_ok=True)
    path = LOCKS / f"{name}.lock"
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        owner = path.read_text(encoding="ascii").strip() or "unknown"
        print(f"{stage}: process {owner} still runs this stage in this folder; waiting for it to end", file=sys.stderr)
        lock.acquire()
    path.write_text(f"{os.getpid()}\n", encoding="ascii")
    return lock
