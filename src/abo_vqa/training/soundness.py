"""Stop a training with a loss or gradients that are not finite, trivial labels, or repeated overflow."""

import math
from collections.abc import Sequence
from itertools import takewhile

from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import PRE_CLIP, SKIPPED
from abo_vqa.training.history import Row

# A mean loss below this at the first step means trivial labels, such as the constant tail of the paper's labels.
ZERO_LOSS = 1e-6
# Skipped steps in a row that stop a run. Each halves the loss scale, so that 20 take it from its first value, 65,536,
# below 1.
MAX_SKIPPED = 20

NO_GRADIENT = "no trainable parameter receives a gradient: train.lora.targets match no layer that the answers depend on"


def check_step(row: Row) -> None:
    """Raise InputError for a step that cannot belong to a sound training run."""
    step = int(row["step"])
    if not all(math.isfinite(value) for value in row.values()):
        raise InputError(
            f"step {step}: loss {row['loss']} or gradient norm {row[PRE_CLIP]} is not finite; "
            "lower train.learning_rate or use another train.mixed_precision"
        )
    if step == 1 and row["loss"] < ZERO_LOSS:
        raise InputError(
            f"step 1: the loss is {row['loss']:g} before anything was learned; the labels contain nothing to predict"
        )
    if step == 1 and row[PRE_CLIP] == 0:
        raise InputError(NO_GRADIENT)


def check_skipped(log_history: Sequence[Row]) -> None:
    """Raise InputError if the last MAX_SKIPPED steps were all skipped."""
    steps = [row for row in log_history if PRE_CLIP in row]
    if len(list(takewhile(lambda row: row.get(SKIPPED), reversed(steps)))) >= MAX_SKIPPED:
        raise InputError(
            f"step {int(steps[-1]['step'])}: the gradients overflowed in {MAX_SKIPPED} steps in a row, although each "
            "halved the loss scale; lower train.learning_rate or set train.mixed_precision to bf16 or no"
        )
