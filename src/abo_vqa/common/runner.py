"""Run a stage: handle signals, print readable errors, mark the pipeline's MLflow run as failed."""

import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable

# In dvc.yaml every stage depends on all of common/, in one line; so every stage imports all of it, these from here.
from abo_vqa.common import cluster, figures, words  # noqa: F401
from abo_vqa.common.errors import readable_errors
from abo_vqa.common.tracking.process import pipeline

# Let idle OpenMP threads sleep instead of spin; two concurrent stages otherwise slow each other down several times.
# Must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Python's default of 700 new objects between collections makes importing torch and transformers a fifth slower.
gc.set_threshold(50_000)
TERMINATED = 128 + signal.SIGTERM


def run_stage(name: str, stage: Callable[[], None]) -> None:
    """Run one stage and end the process; print an InputError and exit with status 1, turn SIGTERM into SystemExit.

    SystemExit lets every `with` block close, so that an MLflow run ends as FAILED instead of RUNNING forever.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        with readable_errors(name):
            stage()
    except (Exception, SystemExit) as error:
        if pipeline() and getattr(error, "code", 1) != TERMINATED:
            # Imported here: MLflow takes seconds, and the error message should not wait for it.
            from abo_vqa.common.tracking.run import fail_pipeline

            fail_pipeline()
        raise
    # Freeing the objects of torch, transformers and MLflow one by one takes two seconds; the system does it at once.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
