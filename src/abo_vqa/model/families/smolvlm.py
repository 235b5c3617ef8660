"""SmolVLM and SmolVLM 2."""

from transformers import SmolVLMProcessor

from abo_vqa.model.families.family import Family


class SmolVlm(Family):
    """As most families do."""

    types = ("smolvlm",)
    processor = SmolVLMProcessor

    def image_tokens(self) -> tuple[int, int]:
        """Return what a photograph of 3:4 takes in tiles, four by three and the whole, and a square."""
        vision = self.config.vision_config
        tile = (vision.image_size // vision.patch_size // self.config.scale_factor) ** 2
        return 13 * tile, 17 * tile
