"""Compare what a model computes for questions that share an image with its own sequence for each."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from abo_vqa.common.errors import InputError
from abo_vqa.model.collators import IGNORED, QuestionCollator

# How far the log-probability of an answer may be off, in nats. Those of 16 bits are estimates, not measured on a GPU.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.5}


@torch.no_grad()
def log_probability_alone(
    model: Any, collator: QuestionCollator, example: Mapping[str, str], ends: Sequence[int]
) -> float:
    """Return the log-probability of an answer and an end, whichever of `ends`, by the model's own forward pass.

    example: as the collator takes it. The processor lays the sequence out; nothing of ours is in the way.
    """
    batch = {name: value.to(model.device) for name, value in collator([example]).items()}
    labels = batch.pop("labels")[0]
    *answer, _ = labels[labels != IGNORED].tolist()
    logits = model(**batch, use_cache=False, logits_to_keep=len(answer) + 2).logits[0, :-1]
    predicted = logits.float().log_softmax(-1)
    end = predicted[-1, list(ends)].logsumexp(-1)
    return float(predicted[range(len(answer)), answer].sum() + end)


def check_agreement(model: Any, what: str, shared: Sequence[float], alone: Sequence[float], remedy: str) -> None:
    """Raise InputError if a log-probability differs from the one of a sequence of its own by more than TOLERANCE."""
    differences = torch.tensor(shared, dtype=torch.float64) - torch.tensor(alone, dtype=torch.float64)
    off, allowed = float(differences.abs().max()), TOLERANCE[model.dtype]
    if off <= allowed:
        return
    kind, name = model.config.model_type, model.config._name_or_path
    raise InputError(
        f"model.base: {name} ({kind}) is not exact for {what}: a log-probability differs by {off:.2g} from that of a "
        f"sequence of its own, more than {allowed:g} in {str(model.dtype).removeprefix('torch.')}; {remedy}"
    )
