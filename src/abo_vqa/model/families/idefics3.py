"""Idefics 3."""

from abo_vqa.model.families.family import Family


class Idefics3(Family):
    """As most families do."""

    types = ("idefics3",)
