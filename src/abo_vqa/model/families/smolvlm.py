"""SmolVLM and SmolVLM 2."""

from transformers import SmolVLMProcessor

from abo_vqa.model.families.family import Family


class SmolVlm(Family):
    """As most families do."""

    types = ("smolvlm",)
    processor = SmolVLMProcessor
