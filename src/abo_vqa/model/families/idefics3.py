"""Idefics 3."""

from abo_vqa.model.families.family import Family
from abo_vqa.model.families.smolvlm import SmolVlm


class Idefics3(Family):
    """As most families do."""

    types = ("idefics3",)
    image_tokens = SmolVlm.image_tokens
