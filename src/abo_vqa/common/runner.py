"""What dvc.yaml runs: one thin module a stage, which reads, calls, writes and logs."""

import os
import signal
import sys
from collections.abc import Callable

from abo_vqa.common.errors import readable_errors

# Threads that wait give their core away. Spinning, which OpenMP does otherwise, costs two stages at once several times
# their speed. It has to be said before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def run_stage(name: str, stage: Callable[[], None]) -> None:
    """Run one stage; an InputError becomes a plain message and exit status 1, SIGTERM an ordinary exit.

    An ordinary exit lets every `with` block close, so that an MLflow run ends as FAILED instead of RUNNING for ever.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with readable_errors(name):
        stage()
