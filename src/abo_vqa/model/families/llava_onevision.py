"""LLaVA-OneVision."""

from transformers import LlavaOnevisionProcessor

from abo_vqa.model.families.family import Family


class LlavaOnevision(Family):
    """As most families do."""

    types = ("llava_onevision",)
    processor = LlavaOnevisionProcessor

    def image_tokens(self) -> tuple[int, int]:
        """Return what one tile, its lines' ends and the whole take: for a square most, for the usual shapes less."""
        side = self.config.vision_config.image_size // self.config.vision_config.patch_size
        return round(1.8 * side**2), 2 * side**2 + side
