"""The model with an adapter that nobody trained, for tests of what happens around one; a BERTScore of nothing."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from peft import get_peft_model
from torch.nn.functional import cross_entropy

from abo_vqa.common.params import Params
from abo_vqa.model.base.loading import load_base
from abo_vqa.training.settings import lora_config
from abo_vqa.training.trainer import answer_logits


def adapted(params: Params, seed: int, spread: float) -> Any:
    """Return the base of the parameters with random LoRA weights over it; spread: the standard deviation of B."""
    torch.manual_seed(seed)
    base = load_base(params.model)
    model = get_peft_model(base, lora_config(params.train.lora, base))
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:  # zero at the start, which would be no adapter at all, and would hide A
            torch.nn.init.normal_(parameter, std=spread)
    return model


def question_losses(model: Any, batch: dict[str, Any], end: int) -> torch.Tensor:
    """Return the summed loss of every question; answers stand one behind the other, each with its end token."""
    logits, targets = answer_logits(model, batch)
    losses = cross_entropy(logits.float(), targets, reduction="none")
    ends = (targets == end).nonzero()[:, 0] + 1
    return torch.stack([part.sum() for part in losses.tensor_split(ends[:-1])])


def gradient(model: Any) -> torch.Tensor:
    """Return all gradients as one vector, and forget them."""
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return found


class NoScorer:
    """BERTScore of nothing, where it is not what is looked at."""

    def score(self, predictions: Sequence[str], answers: Sequence[str]) -> Any:
        return np.zeros((len(predictions), 3))
