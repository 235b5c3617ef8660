"""Base class and types of all parameter groups."""

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from abo_vqa.common.errors import InputError

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]


class ParamsError(InputError):
    """A parameter is unknown, of the wrong type, or impossible; the message names it and the fix."""


# Names become parts of commands, paths, tags and pages.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def check_names(names: Iterable[str]) -> None:
    """Raise ValueError unless each name of an arm or a condition is made of a-z, 0-9, _ and -."""
    if wrong := next((name for name in names if not _NAME.fullmatch(name)), None):
        raise ValueError(
            f"{wrong!r}: a name consists of a-z, 0-9, _ and -, and begins with a letter or digit; rename it"
        )


class Group(BaseModel):
    """A parameter group: frozen, no unknown keys, no type conversion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
