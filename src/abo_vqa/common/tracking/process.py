"""Identify the process that writes a run, and the pipeline execution that it belongs to."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

PIPELINE = "ABO_VQA_PIPELINE"  # variable with the process id of the command that runs the whole pipeline
HOST_TAG, PID_TAG, STARTED_TAG = "process.host", "process.pid", "process.started"


@dataclass(frozen=True)
class Process:
    """A process on this host.

    started: the boot of the machine and the clock tick since then; it distinguishes reused process ids, also after
    someone sets the clock.
    """

    pid: int
    started: str

    @classmethod
    def of_tags(cls, tags: Mapping[str, str]) -> "Process":
        """Return the process that a run's tags name; KeyError if they name none."""
        return cls(int(tags[PID_TAG]), tags[STARTED_TAG])

    def tags(self) -> dict[str, str]:
        """Return the tags of a run that this process writes."""
        return {HOST_TAG: this_host(), PID_TAG: str(self.pid), STARTED_TAG: self.started}

    def is_alive(self) -> bool:
        """Return whether it still runs."""
        return process(self.pid) == self

    def __str__(self) -> str:
        return f"{this_host()}/{self.pid}/{self.started}"


def this_host() -> str:
    """Return this host's name."""
    return socket.gethostname()


def this_process() -> Process:
    """Return the current process."""
    found = process(os.getpid())
    assert found is not None
    return found


def process(pid: int) -> Process | None:
    """Return the running process with an id; None if there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        # No Linux: the start by the clock.
        return Process(pid, str(int(psutil.Process(pid).create_time()))) if psutil.pid_exists(pid) else None
    # The first field is the third of proc(5): the state. A zombie has ended, but its parent has not asked for it.
    return None if fields[0] in (b"Z", b"X") else Process(pid, f"{boot}/{int(fields[19])}")


def pipeline() -> Process | None:
    """Return the DVC process that runs this stage; None if it was started by hand.

    DVC sets DVC_STAGE for its child processes, so it is the nearest ancestor without that variable; `abo-vqa repro`,
    which runs several DVC processes side by side, names itself in PIPELINE.
    """
    if not os.environ.get("DVC_STAGE"):
        return None
    if given := os.environ.get(PIPELINE):
        return process(int(given))
    for ancestor in psutil.Process().parents():
        try:
            if "DVC_STAGE" not in ancestor.environ():
                return process(ancestor.pid)
        except psutil.AccessDenied:
            return None
    return None
