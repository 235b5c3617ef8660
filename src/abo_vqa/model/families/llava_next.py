"""LLaVA-NeXT."""

from abo_vqa.model.families.family import Family


class LlavaNext(Family):
    """As most families do."""

    types = ("llava_next",)

    def image_tokens(self) -> tuple[int, int]:
        """Return what tiles of the photograph and its whole take; measured on ABO's."""
        return 1213, 1752
