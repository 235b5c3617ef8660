"""What all groups of parameters are: frozen, checked, and refused by name."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from abo_vqa.common.errors import InputError

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]


class ParamsError(InputError):
    """A parameter is unknown, of the wrong type, or impossible; the message names it and says what to do."""


class Group(BaseModel):
    """A group of parameters: frozen, without unknown keys, without silent conversion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
