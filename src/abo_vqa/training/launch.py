"""Which GPUs a training uses, decided before torch is imported."""

import os
import sys

from abo_vqa.common.errors import InputError
from abo_vqa.common.params.model import TrainParams
from abo_vqa.model.base.devices import VISIBLE, visible_gpus


def use_gpus(train: TrainParams) -> TrainParams:
    """Resolve `processes: auto` to the visible GPUs, and hide all but the first from a single process.

    TRL refuses a process that sees several GPUs. A process that torchrun started keeps all: it takes the one of its
    rank. Raises InputError for more processes than GPUs.
    """
    if "LOCAL_RANK" in os.environ:
        return train.with_processes(int(os.environ["WORLD_SIZE"]))
    gpus = visible_gpus()
    resolved = train.with_processes(len(gpus))
    processes = int(resolved.processes)
    if gpus and processes > len(gpus):
        raise InputError(
            f"train.processes: {processes} processes need a GPU each, and {len(gpus)} are visible; set it to auto"
        )
    if len(gpus) > 1:
        used = "the first" if processes == 1 else f"{processes}"
        more = "" if train.processes == "auto" else "; train.processes: auto uses all that divide a step evenly"
        print(f"train: {len(gpus)} GPUs are visible, {used} of them used{more}", file=sys.stderr)
    if len(gpus) > 1 and processes == 1:
        os.environ[VISIBLE] = gpus[0]
    return resolved
