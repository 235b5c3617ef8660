"""Parameters of the measuring stages: audit, evaluate, compare, registry, report."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from abo_vqa.common.params.group import Count, Group, Share, check_names
from abo_vqa.common.schema import MATCHED, OPEN, OPTIONS

SHOWN = "shown"
_SEPARATOR = "/"  # between a condition's name and its counterpart's image


def counterparts(name: str, conditions: Iterable[str]) -> dict[str, str]:
    """Return the names of a condition's counterparts by their image, such as {"blank": "open/blank"}.

    conditions: the names of all that were asked, as Params.conditions returns them.
    """
    prefix = name + _SEPARATOR
    return {each.removeprefix(prefix): each for each in conditions if each.startswith(prefix)}


class AuditParams(Group):
    """The audit by text-only baselines."""

    folds: Annotated[int, Field(ge=2)]
    encoder: str


class ConditionParams(Group):
    """How test questions are shown under a condition; each key is optional."""

    image: Annotated[
        str, Field(description="shown: the question's; blank: a gray one; other: of a product with another answer")
    ] = SHOWN
    options: Annotated[
        str,
        Field(
            description="none; given or matched: the question's, or those that the text does not give away; near or "
            "far: answers to questions of the same type, or of others"
        ),
    ] = "given"
    count: Annotated[
        Annotated[int, Field(ge=2, le=8)] | None, Field(description="number of options shown; null: all")
    ] = None
    order: Annotated[
        str,
        Field(description="of the options; rotated: asked in every rotation, right only if right in all"),
    ] = "given"
    question: Annotated[
        str, Field(description="shown; none: only image and options; reworded: in other, neutral words")
    ] = SHOWN
    counterparts: Annotated[
        bool, Field(description="also ask it with each image of evaluate.counterparts; needed to claim a gain")
    ] = True

    @model_validator(mode="after")
    def _something_is_asked(self) -> "ConditionParams":
        if self.question == "none" and self.options == "none":
            raise ValueError("question: none leaves nothing to answer without options; show options or the question")
        return self

    @model_validator(mode="after")
    def _matched_options_are_four(self) -> "ConditionParams":
        if self.options == MATCHED and self.count is not None:
            raise ValueError("count: not allowed with matched options; remove it")
        return self


class EvaluateParams(Group):
    """Evaluation and scoring of each model (paper, section 3.2)."""

    conditions: Annotated[dict[str, ConditionParams], Field(min_length=1)]
    counterparts: list[str]
    tokens_per_pass: Count | Literal["auto"]
    max_new_tokens: Count
    bertscore_model: str
    bertscore_layers: Count

    @field_validator("conditions")
    @classmethod
    def _plainly_named(cls, conditions: dict[str, ConditionParams]) -> dict[str, ConditionParams]:
        check_names(conditions)
        return conditions

    @field_validator("counterparts")
    @classmethod
    def _other_images_once(cls, images: list[str]) -> list[str]:
        check_names(images)
        if SHOWN in images:
            raise ValueError(f"{SHOWN} is the image of the condition itself; name others")
        if repeated := sorted({image for image in images if images.count(image) > 1}):
            raise ValueError(f"{repeated[0]} is listed twice")
        return images

    def all_conditions(self) -> dict[str, ConditionParams]:
        """Return all conditions by name, then the counterparts of those that show the question's image and want them.

        A counterpart is the same condition with another image: options, orders and wording are the same.
        """
        return self.conditions | {
            f"{name}{_SEPARATOR}{image}": condition.model_copy(update={"image": image})
            for name, condition in self.conditions.items()
            if condition.image == SHOWN and condition.counterparts
            for image in self.counterparts
        }


class PlannedParams(Group):
    """A planned comparison: the accuracy of the first model minus the second's, under each of the conditions."""

    first: Annotated[str, Field(description="a model: base or an arm")]
    second: Annotated[str, Field(description="the model that it is compared with")]
    conditions: Annotated[list[str], Field(min_length=1, description="names under evaluate.conditions")]

    @model_validator(mode="after")
    def _two_models(self) -> "PlannedParams":
        if self.first == self.second:
            raise ValueError(f"second: {self.second} is compared with itself; name two models")
        if repeated := sorted({name for name in self.conditions if self.conditions.count(name) > 1}):
            raise ValueError(f"conditions: {repeated[0]} is listed twice")
        return self


class CompareParams(Group):
    """Intervals, planned comparisons, and the text-only scores above which no gain is reported."""

    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    planned: list[PlannedParams]
    max_blind: dict[str, Share]

    @field_validator("planned")
    @classmethod
    def _planned_once(cls, planned: list[PlannedParams]) -> list[PlannedParams]:
        pairs = [{one.first, one.second} for one in planned]
        for place, one in enumerate(planned):
            if pairs[place] in pairs[:place]:
                raise ValueError(f"{one.first} and {one.second} are compared twice; list their conditions in one line")
        return planned

    @field_validator("max_blind")
    @classmethod
    def _audited(cls, limits: dict[str, float]) -> dict[str, float]:
        if unknown := sorted(limits.keys() - {OPEN, OPTIONS, MATCHED}):
            raise ValueError(f"{unknown[0]}: the audit scores open, options and matched only")
        return limits


class RegistryParams(Group):
    """Requirements for the registered model's champion.

    champion_under: conditions under each of which the verdict must be a gain over base; under the first, a new
    champion must beat the present one on the same questions. promote: whether the stage register may move the alias.
    """

    champion_under: Annotated[list[str], Field(min_length=1)]
    promote: bool


class ReportParams(Group):
    """Contents of reports/report.html."""

    gallery_images: Count
