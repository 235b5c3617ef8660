"""Identify the process that writes a run, and the pipeline execution that it belongs to."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

PIPELINE = "ABO_VQA_PIPELINE"  # variable with the process id of the command that runs the whole pipeline
HOST_TAG, PID_TAG, STARTED_TAG = "process.host", "process.pid", "process.started"


@dataclass(frozen=True)
class Process:
    """A process on this host. started: seconds since 1970; it distinguishes reused process ids."""

    pid: int
    started: int

    @classmethod
    def of_tags(cls, tags: Mapping[str, str]) -> "Process":
        """Return the process that a run's tags name; KeyError if they name none."""
        return cls(int(tags[PID_TAG]), int(tags[STARTED_TAG]))

    def tags(self) -> dict[str, str]:
        """Return the tags of a run that this process writes."""
        return {HOST_TAG: this_host(), PID_TAG: str(self.pid), STARTED_TAG: str(self.started)}

    def is_alive(self) -> bool:
        """Return whether it still runs."""
        try:
            return _known(psutil.Process(self.pid)) == self
        except psutil.NoSuchProcess:
            return False

    def __str__(self) -> str:
        return f"{this_host()}/{self.pid}/{self.started}"


def this_host() -> str:
    """Return this host's name."""
    return socket.gethostname()


def this_process() -> Process:
    """Return the current process."""
    return _known(psutil.Process())


def pipeline() -> Process | None:
    """Return the DVC process that runs this stage; None if it was started by hand.

    DVC sets DVC_STAGE for its child processes, so it is the nearest ancestor without that variable; `abo-vqa repro`,
    which runs several DVC processes side by side, names itself in PIPELINE.
    """
    if not os.environ.get("DVC_STAGE"):
        return None
    if given := os.environ.get(PIPELINE):
        return _known(psutil.Process(int(given))) if psutil.pid_exists(int(given)) else None
    for ancestor in psutil.Process().parents():
        try:
            if "DVC_STAGE" not in ancestor.environ():
                return _known(ancestor)
        except psutil.AccessDenied:
            return None
    return None


def _known(process: psutil.Process) -> Process:
    return Process(process.pid, int(process.create_time()))
