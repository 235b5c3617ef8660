"""LLaVA-OneVision."""

from transformers import LlavaOnevisionProcessor

from abo_vqa.model.families.family import Family


class LlavaOnevision(Family):
    """As most families do."""

    types = ("llava_onevision",)
    processor = LlavaOnevisionProcessor
