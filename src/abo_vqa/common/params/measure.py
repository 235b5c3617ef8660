"""Parameters of what is measured: audit, evaluate, compare, registry, report."""

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from abo_vqa.common.params.group import Count, Group, Share


class AuditParams(Group):
    """What a predictor that never sees the image scores."""

    folds: Annotated[int, Field(ge=2)]
    resamples: Count
    encoder: str


class ConditionParams(Group):
    """What is shown of every test question under a condition; each key may be left out."""

    image: Annotated[str, Field(description="the question's image, or a blank one")] = "shown"
    options: Annotated[
        str,
        Field(
            description="none, the question's own, those that the text does not tell apart, or others: answers to such "
            "questions (near) or to others (far)"
        ),
    ] = "given"
    count: Annotated[
        Annotated[int, Field(ge=2, le=8)] | None, Field(description="options shown; null: as many as there are")
    ] = None
    order: Annotated[
        str,
        Field(description="of the options; rotated: asked in every order, and right only if right in all"),
    ] = "given"

    @model_validator(mode="after")
    def _matched_options_are_four(self) -> "ConditionParams":
        if self.options == "matched" and self.count is not None:
            raise ValueError("count: matched options come as they are; leave it out")
        return self


class EvaluateParams(Group):
    """How each model is asked and scored (paper, section 3.2)."""

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
            raise ValueError(f"conditions: {repeated[0]} is there twice")
        return self


class CompareParams(Group):
    """Intervals of the comparison table, what is compared, and the blind scores above which no gain is called one."""

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
        if unknown := sorted(limits.keys() - {"open", "options", "matched"}):
            raise ValueError(f"{unknown[0]}: the audit scores open, options and matched only")
        return limits


class RegistryParams(Group):
    """What an arm has to show to become the registered model's champion.

    champion_under: conditions under each of which the verdict has to call it a gain over base; the first one's accuracy
    decides among several.
    """

    champion_under: Annotated[list[str], Field(min_length=1)]


class ReportParams(Group):
    """What reports/report.html shows."""

    gallery_images: Count
