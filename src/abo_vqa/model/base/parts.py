"""The parts of a vision-language model: its language model, its head, and what is before them."""

from typing import Any

import torch
from transformers import AutoModelForImageTextToText

HEAD = "lm_head"


def empty_model(config: Any, dtype: torch.dtype) -> Any:
    """Return a model of this configuration without weights (PyTorch's device `meta`)."""
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config, dtype=dtype)


def language_part(model: Any) -> str:
    """Return the name of the language model's module, as model.language_model; model: without adapters."""
    decoder = model.get_decoder()
    return next(name for name, module in model.named_modules() if module is decoder)


def vision_parts(model: Any) -> list[str]:
    """Return the names of the other modules, as model.vision_tower and model.multi_modal_projector."""
    language = language_part(model)
    outer, _, _ = language.rpartition(".")
    children = model.get_submodule(outer).named_children()
    names = [f"{outer}.{name}" if outer else name for name, _ in children]
    return [name for name in names if name not in (language, HEAD)]
