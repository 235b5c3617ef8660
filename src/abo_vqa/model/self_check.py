"""Compare what a model computes for questions that share an image with its own sequence for each."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import send_to_device

from abo_vqa.common.errors import InputError
from abo_vqa.model.collators import IGNORED, QuestionCollator
from abo_vqa.model.images import model_inputs

# How far the log-probability of an answer may be off, in nats. Those of 16 bits are estimates, not measured on a GPU.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.5}


class CannotShare(InputError):
    """A model for which sharing an image is not exact, or fails; the message names it and says what to do."""


@torch.no_grad()
def log_probability_alone(
    model: Any, collator: QuestionCollator, example: Mapping[str, str], ends: Sequence[int]
) -> float:
    """Return the log-probability of an answer and an end, whichever of `ends`, by the model's own forward pass.

    example: as the collator takes it. The processor lays the sequence out; nothing of ours is in the way.
    """
    batch = send_to_device(collator([example]), model.device)
    labels = batch.pop("labels")[0]
    *answer, _ = labels[labels != IGNORED].tolist()
    logits = model(**model_inputs(model, batch), use_cache=False, logits_to_keep=len(answer) + 2).logits[0, :-1]
    predicted = logits.float().log_softmax(-1)
    end = predicted[-1, list(ends)].logsumexp(-1)
    return float(predicted[range(len(answer)), answer].sum() + end)


def check_agreement(model: Any, shared: Sequence[float], alone: Sequence[float]) -> None:
    """Raise CannotShare if a log-probability differs from that of a sequence of its own by more than TOLERANCE."""
    differences = torch.tensor(shared, dtype=torch.float64) - torch.tensor(alone, dtype=torch.float64)
    off, allowed = float(differences.abs().max()), TOLERANCE[model.dtype]
    # Not `>`: a difference that is no number is one.
    if not off <= allowed:
        raise CannotShare(
            f"it is not exact: a log-probability differs by {off:.2g} from that of a sequence of its own, more than "
            f"{allowed:g} in {str(model.dtype).removeprefix('torch.')}"
        )


@contextmanager
def sharing(model: Any, family: Any, what: str, remedy: str) -> Iterator[None]:
    """Context manager: whatever keeps an image from being shared becomes a CannotShare that names the model.

    what: several questions or prompts; remedy: end of the message. A lack of memory and errors in the input stay.
    """
    try:
        if not family.shares_image:
            raise CannotShare("its image sees the text behind it")
        yield
    except (torch.OutOfMemoryError, InputError) as error:
        if not isinstance(error, CannotShare):
            raise
        reason: Exception = error
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = error
    else:
        return
    said = (str(reason).strip() or type(reason).__name__).splitlines()[0]
    raise CannotShare(
        f"model.base: {model.config._name_or_path} ({model.config.model_type}) cannot share an image among {what}: "
        f"{said}; {remedy}"
    ) from reason
