"""Parameters of where models compute, which change no result: ray."""

from typing import Literal

from abo_vqa.common.params.group import Count, Group


class RayParams(Group):
    """A Ray cluster."""

    address: str = ""
    workers: Count | Literal["auto"] = "auto"
