"""InternVL 3, in the repositories for transformers (-hf)."""

from transformers import InternVLProcessor

from abo_vqa.model.families.family import Family


class InternVl(Family):
    """As most families do."""

    types = ("internvl",)
    processor = InternVLProcessor

    def image_tokens(self) -> tuple[int, int]:
        """Return a square's one tile, which many photographs are, and twelve tiles with a thumbnail."""
        return 5 * self.config.image_seq_length, 13 * self.config.image_seq_length
