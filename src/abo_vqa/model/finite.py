"""A check that a model's numbers are finite, whose error names the model, the image and the number format."""

from typing import Any

import torch
from peft import PeftModel

from abo_vqa.common.errors import InputError


def check_finite(values: torch.Tensor, what: str, where: str, model: Any) -> None:
    """Raise InputError if a value is infinite or NaN. where: the image that `values` belong to."""
    if values.isfinite().all():
        return
    name = str(model.config._name_or_path)
    if isinstance(model, PeftModel) and (status := model.get_model_status()).enabled:
        name += f" with adapter {', '.join(status.active_adapters)}"
    raise InputError(
        f"{where}: the {what} of {name} are not finite in {str(model.dtype).removeprefix('torch.')}; set "
        "model.quantization.compute_dtype to bfloat16 or float32, or see whether the weights are damaged"
    )
