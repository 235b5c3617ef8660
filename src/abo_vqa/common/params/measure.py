"""Parameters of the measuring stages: audit, evaluate, compare, registry, report."""

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from abo_vqa.common.params.group import Count, Group, Share
from abo_vqa.common.schema import MATCHED, OPEN, OPTIONS


class AuditParams(Group):
    """The audit by text-only baselines."""

    folds: Annotated[int, Field(ge=2)]
    resamples: Count
    encoder: str


class ConditionParams(Group):
    """How test questions are shown under a condition; each key is optional."""

    image: Annotated[str, Field(description="shown: the question's image; blank: a blank one")] = "shown"
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

    @model_validator(mode="after")
    def _matched_options_are_four(self) -> "ConditionParams":
        if self.options == MATCHED and self.count is not None:
            raise ValueError("count: not allowed with matched options; remove it")
        return self


class EvaluateParams(Group):
    """Evaluation and scoring of each model (paper, section 3.2)."""

    conditions: Annotated[dict[str, ConditionParams], Field(min_length=1)]
    tokens_per_pass: Count
    max_new_tokens: Count
    bertscore_model: str
    bertscore_layers: Count


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
    resamples: Count
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

    champion_under: conditions under each of which the verdict must be a gain over base; accuracy under the first
    decides among several arms.
    """

    champion_under: Annotated[list[str], Field(min_length=1)]


class ReportParams(Group):
    """Contents of reports/report.html."""

    gallery_images: Count
