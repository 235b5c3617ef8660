"""Memory that a model takes, computed on fake tensors: no weights are loaded and nothing is calculated."""

from typing import Any

import torch
from peft import get_peft_model
from peft.helpers import disable_input_dtype_casting
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef

from abo_vqa.common.errors import InputError
from abo_vqa.common.params.model import LoraParams, QuantizationParams
from abo_vqa.model.base.parts import HEAD, empty_model, vision_parts
from abo_vqa.training.settings import lora_config

# bitsandbytes: one scale per 64 weights; with double quantization in 8 bits, and one more per 256 of these.
BLOCK, OUTER_BLOCK = 64, 256
CPU = torch.device("cpu")


def weight_bytes(model: Any, quantization: QuantizationParams) -> int:
    """Return the bytes of a model's weights as `load_base` loads them."""
    counted: dict[int, int] = {}
    unpacked = (*vision_parts(model), HEAD)
    for name, module in model.named_modules():
        linear = isinstance(module, torch.nn.Linear) and not name.startswith(unpacked)
        for parameter in module.parameters(recurse=False):
            # Tied weights are one tensor.
            packed = linear and quantization.load_in_4bit and parameter.dim() == 2
            size = _packed(parameter.numel(), quantization.double_quant) if packed else parameter.nbytes
            counted[id(parameter)] = size
    return sum(counted.values())


def _packed(weights: int, double: bool) -> int:
    scales = weights // BLOCK
    return weights // 2 + (scales + 4 * scales // OUTER_BLOCK if double else 4 * scales)


def kept_for_backward(
    config: Any, lora: LoraParams, dtype: torch.dtype, sequences: int, length: int, gpu: bool = True
) -> int:
    """Return the bytes that a forward pass keeps for its backward pass, logits not counted.

    That is the language model's, and the vision tower's of an image a sequence where it is adapted too.
    gpu: dropout keeps one byte an element there, and one element of the computation's number format on a CPU. Raises
    InputError for an adapted vision tower whose images have any shape.
    """
    empty = empty_model(config, dtype)
    vision = vision_parts(empty)
    model: Any = get_peft_model(empty, lora_config(lora, empty))
    model.train()
    mode = FakeTensorMode()
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                data = weight.data.float() if weight.requires_grad else weight.data
                fake = FakeTensor(mode, data, CPU)
                module._parameters[name] = torch.nn.Parameter(fake, requires_grad=weight.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = FakeTensor(mode, buffer.to("meta"), CPU)
    own = {StorageWeakRef(weight.untyped_storage()) for weight in model.parameters()}
    kept: dict[StorageWeakRef, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = StorageWeakRef(tensor.untyped_storage())
        if storage not in own:
            kept[storage] = tensor.untyped_storage().nbytes()
        return tensor

    autocast = torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32)
    # Real tensors inside the model, such as rotary frequencies, mix with fake ones.
    with disable_input_dtype_casting(model), mode, autocast, torch.autograd.graph.saved_tensors_hooks(keep, _same):
        hidden = torch.zeros(sequences, length, config.get_text_config().hidden_size, dtype=dtype)
        seen = torch.zeros(sequences, 1, length, length, dtype=dtype)
        places = torch.zeros(sequences, length, dtype=torch.long)
        decoder: Any = model.get_base_model().get_decoder()
        decoder(inputs_embeds=hidden, attention_mask=seen, position_ids=places, use_cache=False)
        if lora.vision_tower:
            side, _ = _square(config)
            tower: Any = model.get_base_model().get_submodule(vision[0])
            tower(torch.zeros(sequences, 3, side, side, dtype=dtype))
    total = sum(kept.values())
    if gpu:
        smaller = _dropout_difference(model, dtype, vision)
        total -= sequences * length * smaller["language"]
        if lora.vision_tower:
            side, patch = _square(config)
            total -= sequences * ((side // patch) ** 2 + 1) * smaller["vision"]
    return total


def _square(config: Any) -> tuple[int, int]:
    """Return the sides of a vision tower's image and of its patches; InputError for one that takes any shape."""
    vision = config.vision_config
    if not hasattr(vision, "image_size"):
        raise InputError(
            f"train.lora.vision_tower: the memory of the vision tower of {config.model_type} cannot be computed, for "
            "its images have any shape; set it to false"
        )
    sides = [side if isinstance(side, int) else side[0] for side in (vision.image_size, vision.patch_size)]
    return sides[0], sides[1]


def _same(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _dropout_difference(model: Any, dtype: torch.dtype, vision: list[str]) -> dict[str, int]:
    """Return by how many bytes a token the masks of the adapters' dropout are smaller on a GPU, in either component."""
    smaller = {"language": 0, "vision": 0}
    for name, module in model.named_modules():
        if hasattr(module, "lora_dropout"):
            masks = sum(bool(getattr(dropout, "p", 0)) for dropout in module.lora_dropout.values())
            component = "vision" if any(f"{part}." in name for part in vision) else "language"
            smaller[component] += masks * module.in_features * (dtype.itemsize - 1)
    return smaller
