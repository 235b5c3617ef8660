"""Qwen3-VL: positions of three axes, and features of several depths."""

from collections.abc import Sequence
from typing import Any

from transformers import Qwen3VLProcessor
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from abo_vqa.model.families.family import FEATURES, Family, Tensors
from abo_vqa.model.families.qwen2_5_vl import Qwen25Vl

_DEEP = "deepstack_"


class Qwen3Vl(Family):
    """Features of inner layers of the vision tower are added behind the first layers of the language model."""

    types = ("qwen3_vl",)
    processor = Qwen3VLProcessor
    positions = Qwen25Vl.positions

    def image_tokens(self) -> tuple[int, int]:
        """Return what a square takes, and shapes that are brought to as many pixels."""
        return 64, 72

    def parts(self, found: Any) -> Tensors:
        """Return the features and those of each depth."""
        return super().parts(found) | {f"{_DEEP}{n}": each[0] for n, each in enumerate(found.deepstack_features)}

    def encoded(self, images: Sequence[Tensors]) -> Any:
        """Return features and those of each depth, of all images."""
        depths = sum(name.startswith(_DEEP) for name in images[0])
        deep: Any = [[image[f"{_DEEP}{depth}"] for image in images] for depth in range(depths)]
        pooled: Any = [image[FEATURES] for image in images]
        return BaseModelOutputWithDeepstackFeatures(pooler_output=pooled, deepstack_features=deep)
