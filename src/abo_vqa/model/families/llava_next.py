"""LLaVA-NeXT."""

from abo_vqa.model.families.family import Family


class LlavaNext(Family):
    """As most families do."""

    types = ("llava_next",)
