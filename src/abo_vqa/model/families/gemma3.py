"""Gemma 3: an image's tokens see each other in both directions."""

from collections.abc import Sequence

import torch

from abo_vqa.model.families.family import Family


class Gemma3(Family):
    """Some layers see all tokens, others a window of the last ones."""

    types = ("gemma3",)

    def image_tokens(self) -> tuple[int, int]:
        """Return what every image takes."""
        return self.config.mm_tokens_per_image, self.config.mm_tokens_per_image

    def blocks(self, prefix: Sequence[int]) -> torch.Tensor | None:
        """Return one block for each run of image tokens."""
        image = torch.tensor(prefix) == self.image_token
        starts = image & ~torch.cat([torch.tensor([False]), image[:-1]])
        return torch.where(image, starts.cumsum(0) - 1, -1)
