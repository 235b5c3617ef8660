"""The model with an adapter that nobody trained, for tests of what happens around one; a BERTScore of nothing."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from peft import get_peft_model

from abo_vqa.common.params import Params
from abo_vqa.model.base.loading import load_base
from abo_vqa.training.settings import lora_config


def adapted(params: Params, seed: int, spread: float) -> Any:
    """Return the base of the parameters with random LoRA weights over it; spread: the standard deviation of B."""
    torch.manual_seed(seed)
    base = load_base(params.model)
    model = get_peft_model(base, lora_config(params.train.lora, base))
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:  # zero at the start, which would be no adapter at all, and would hide A
            torch.nn.init.normal_(parameter, std=spread)
    return model


class NoScorer:
    """BERTScore of nothing, where it is not what is looked at."""

    def score(self, predictions: Sequence[str], answers: Sequence[str]) -> Any:
        return np.zeros((len(predictions), 3))
