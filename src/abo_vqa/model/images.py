"""An image as a model takes it: what stands for it in a prompt, and its pixels or its features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch.nn.functional import pad

from abo_vqa.common.storage import open_image
from abo_vqa.model.families.family import FEATURES, Tensors
from abo_vqa.model.families.lookup import family_of

IMAGES = "images"  # in a batch: the inputs of each of its images


@dataclass(frozen=True)
class ImagePart:
    """An image's part of a prompt. text: its tokens, in place of the template's; inputs: pixels or features."""

    text: str
    inputs: Tensors


def read_image(processor: Any, name: str, data: bytes) -> ImagePart:
    """Return an encoded image as the processor gives it to the model; InputError if it cannot be read."""
    return process_image(processor, open_image(name, data))


def process_image(processor: Any, image: Image.Image) -> ImagePart:
    """Return a decoded image as the processor gives it to the model."""
    encoded = dict(
        processor(
            images=[image], text=[processor.image_token], add_special_tokens=False,
            return_text_replacement_offsets=True, return_tensors="pt",
        )
    )  # fmt: skip
    [[replaced]] = encoded.pop("text_replacement_offsets")
    return ImagePart(replaced["replacement"], _of_image(encoded))


def split_inputs(encoded: Mapping[str, torch.Tensor]) -> tuple[Tensors, Tensors]:
    """Return a processor's outputs for one prompt by token, of shape (1, length), and those of its image."""
    shape = encoded["input_ids"].shape
    by_token = {name: value for name, value in encoded.items() if value.shape == shape}
    return by_token, _of_image(encoded)


def _of_image(encoded: Mapping[str, torch.Tensor]) -> Tensors:
    shape = encoded["input_ids"].shape
    return {name: value for name, value in encoded.items() if value.shape != shape}


def model_inputs(model: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return a collated batch as the model's forward pass takes it, on the device where the batch is.

    A boolean mask of shape (sequences, 1, length, length) becomes one in the model's number format.
    """
    bare = getattr(model, "module", model)  # within several processes
    family, inputs = family_of(bare.config), dict(batch)
    inputs |= image_inputs(family, inputs.pop(IMAGES))
    if inputs["attention_mask"].dim() == 4:
        places = inputs["position_ids"]
        inputs["attention_mask"] = family.masks(inputs["attention_mask"], places, places, bare.dtype)
        # Models take the axes first.
        inputs["position_ids"] = places.transpose(0, 1) if places.dim() == 3 else places
    return inputs


def image_inputs(family: Any, images: Sequence[Tensors]) -> dict[str, Any]:
    """Return the model's arguments for some images, each with its features or its pixels."""
    if not images:
        return {}
    if FEATURES in images[0]:
        return {"mm_encoder_outputs": {"image": family.encoded(images)}}
    return {name: _joined([image[name] for image in images]) for name in images[0]}


def _joined(values: Sequence[torch.Tensor]) -> torch.Tensor:
    """Concatenate along the first dimension; images of fewer tiles get empty ones, as processors fill them."""
    tiles = max(value.shape[1] for value in values) if values[0].dim() > 3 else 0
    filled = [value if value.dim() <= 3 else pad(value, _behind(value, tiles)) for value in values]
    return torch.cat(filled)


def _behind(value: torch.Tensor, tiles: int) -> list[int]:
    return [0, 0] * (value.dim() - 2) + [0, tiles - value.shape[1]]
