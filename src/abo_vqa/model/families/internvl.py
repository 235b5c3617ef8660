"""InternVL 3, in the repositories for transformers (-hf)."""

from transformers import InternVLProcessor

from abo_vqa.model.families.family import Family


class InternVl(Family):
    """As most families do."""

    types = ("internvl",)
    processor = InternVLProcessor
