"""Run a stage: handle signals, print readable errors, mark the pipeline's MLflow run as failed."""

import argparse
import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable

# In dvc.yaml every stage depends on all of common/, in one line; so every stage imports all of it, these from here.
from abo_vqa.common import cluster, columns, figures, words  # noqa: F401
from abo_vqa.common.errors import readable_errors
from abo_vqa.common.layout import OUTPUTS
from abo_vqa.common.lifetime import TERMINATED, end_with_dvc, wait_to_be_alone
from abo_vqa.common.params.model import model_name
from abo_vqa.common.quiet import quiet_libraries
from abo_vqa.common.storage import remove_temporary
from abo_vqa.common.tracking.process import pipeline

# Let idle OpenMP threads sleep instead of spin; two concurrent stages otherwise slow each other down several times.
# Must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Python's default of 700 new objects between collections makes importing torch and transformers a fifth slower.
gc.set_threshold(50_000)


def model_argument(about: str | None) -> str:
    """Return the model that the command line names: --model NAME, or --arm and --replicate as dvc.yaml gives them.

    dvc.yaml cannot join the two: DVC quotes a value for the shell only where it writes the whole option.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--model", help="base, or an arm and a training seed of params.yaml, as standard-1")
    parser.add_argument("--arm", help="an arm of params.yaml")
    parser.add_argument("--replicate", type=int, metavar="SEED", help="a training seed of train.replicates")
    given = parser.parse_args()
    pair = given.arm is not None and given.replicate is not None
    if pair == (given.model is not None):
        parser.error("give --model, or --arm and --replicate")
    return model_name(given.arm, given.replicate) if pair else given.model


def run_stage(name: str, stage: Callable[[], None]) -> None:
    """Run one stage and end the process; print an InputError and exit with status 1, turn SIGTERM into SystemExit.

    SystemExit lets every `with` block close, so that an MLflow run ends as FAILED instead of RUNNING forever. The stage
    ends with the DVC that runs it, and waits for an earlier process of the same stage in this checkout.
    """
    signal.signal(signal.SIGTERM, _terminate)
    end_with_dvc()
    quiet_libraries()
    lock = wait_to_be_alone("-".join([name, *(argument.lstrip("-") for argument in sys.argv[1:])]))
    try:
        with readable_errors(name):
            remove_temporary(OUTPUTS)
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
    lock.release()  # last: what atexit writes is written alone, too
    os._exit(0)


def _terminate(*_: object) -> None:
    # Once: a second signal, as DVC's end after a group's, would interrupt the `with` blocks.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(TERMINATED)
