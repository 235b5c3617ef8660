"""Base class and types of all parameter groups."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from abo_vqa.common.errors import InputError

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]


class ParamsError(InputError):
    """A parameter is unknown, of the wrong type, or impossible; the message names it and the fix."""


class Group(BaseModel):
    """A parameter group: frozen, no unknown keys, no type conversion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
