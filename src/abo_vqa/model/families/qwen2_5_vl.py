"""Qwen2.5-VL: positions of three axes."""

from collections.abc import Sequence

import torch
from transformers import Qwen2_5_VLProcessor

from abo_vqa.model.families.family import Family, Tensors


class Qwen25Vl(Family):
    """An image's tokens have positions in time, height and width (M-RoPE); the text goes on behind the larger side."""

    types = ("qwen2_5_vl",)
    processor = Qwen2_5_VLProcessor

    def image_tokens(self) -> tuple[int, int]:
        """Return what a photograph of 3:4 takes, and a square."""
        side = round(256 / (self.config.vision_config.patch_size * self.config.vision_config.spatial_merge_size))
        return side * round(0.75 * side), side**2

    def positions(self, prefix: Sequence[int], inputs: Tensors) -> torch.Tensor:
        """Return three axes of positions; inputs: image_grid_thw has the image's patches."""
        merged = self.config.vision_config.spatial_merge_size
        height, width = (inputs["image_grid_thw"][0, 1:] // merged).tolist()
        before = list(prefix).index(self.image_token)
        rows, columns = torch.arange(height).repeat_interleave(width), torch.arange(width).repeat(height)
        image = torch.stack([torch.zeros_like(rows), rows, columns])
        return torch.cat([torch.arange(before).expand(3, -1), before + image], dim=1)
