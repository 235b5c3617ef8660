"""Parameters of the data stages: sample, generate, validate, split, matching."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from abo_vqa.common.params.group import Count, Group, Positive, Share
from abo_vqa.common.params.model import WeightsParams
from abo_vqa.common.schema import QUESTION_TYPES


class SampleShares(Group):
    """Shares of the sample drawn by the paper's three stages (section 2.3); they sum to 1."""

    stratified: Share
    top_types: Share
    rare_types: Share

    @model_validator(mode="after")
    def _sum_to_one(self) -> "SampleShares":
        total = self.stratified + self.top_types + self.rare_types
        if abs(total - 1) > 1e-9:
            raise ValueError(f"stratified + top_types + rare_types must be 1, not {total:g}")
        return self


class CapsParams(Group):
    """Limits of the paper's sampler as its author ran it: products by value of a fact, at reference_size.

    Values are compared without regard to case and spaces; `missing` stands for products without the fact.
    """

    product_type: dict[str, Count] = Field(default_factory=dict)
    brand: dict[str, Count] = Field(default_factory=dict)
    color: dict[str, Count] = Field(default_factory=dict)


class SampleParams(Group):
    """The three-stage sampler (paper, section 2.3)."""

    listings: str
    images: str
    products: Count
    reference_size: Count
    shares: SampleShares
    strata: Count
    stratum_text: Annotated[
        list[
            Literal[
                "product_type",
                "brand",
                "color",
                "material",
                "shape",
                "item_name",
                "item_keywords",
                "node",
                "bullet_point",
            ]
        ],
        Field(min_length=1),
    ]
    caps: CapsParams | None = None
    exchanged: dict[str, Count] = Field(default_factory=dict)
    amazonbasics_cap: Annotated[int, Field(ge=0)]
    shoes_cap: Annotated[int, Field(ge=0)]
    top_types: Count
    rare_outside: Count
    max_malformed_lines: Share
    max_damaged_shards: Annotated[int, Field(ge=0)]
    max_unreadable_images: Share


class SamplingParams(Group):
    """Token sampling of the generator (paper, section 3.1)."""

    do_sample: bool
    temperature: Positive
    top_p: Annotated[float, Field(gt=0, le=1)]
    top_k: Annotated[int, Field(ge=0)]
    repetition_penalty: Positive


class VlmParams(WeightsParams):
    """The vision-language model that writes questions (paper, section 3.1)."""

    prompt: str
    constrained: bool
    # xgrammar 0.2.8 cannot compile a longer repetition.
    longest_question: Annotated[int, Field(ge=20, le=128)]
    longest_word: Annotated[int, Field(ge=3, le=128)]
    max_new_tokens: Count
    batch_size: Count | Literal["auto"]
    sampling: SamplingParams


class GenerateParams(Group):
    """The source of the questions (paper, section 3.1)."""

    source: Annotated[str, Field(description="metadata, recorded or vlm (src/abo_vqa/generators/stage.py)")]
    recorded: str | None
    vlm: VlmParams

    @model_validator(mode="after")
    def _recorded_needs_a_file(self) -> "GenerateParams":
        if self.source == "recorded" and not self.recorded:
            raise ValueError("source: recorded needs generate.recorded, the path of the saved outputs")
        return self


class ValidateParams(Group):
    """Repairs and checks of questions (paper, section 3.1)."""

    suite: str
    repairs: Annotated[dict[str, bool], Field(description="repairs by name (src/abo_vqa/questions/repair.py)")]
    options: Annotated[int, Field(ge=2, le=8)]
    counting_max: Count
    contradicted: Literal["keep", "quarantine"] = "keep"
    max_quarantined: Share


class SplitParams(Group):
    """Shares of products in the validation and test splits, and the near-duplicate thresholds."""

    validation: Annotated[float, Field(gt=0, lt=1)]
    test: Annotated[float, Field(gt=0, lt=1)]
    near_duplicate_bits: Annotated[int, Field(ge=0, le=64)]
    near_duplicate_correlation: Annotated[float, Field(ge=0.9, le=1)] = 0.98

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> "SplitParams":
        if self.validation + self.test >= 1:
            raise ValueError("validation + test must be below 1, or nothing is left to train on")
        return self


class MatchingParams(Group):
    """Options and questions chosen so that the text does not give the answer away (splits/matching.py)."""

    balanced: list[str]
    folds: Annotated[int, Field(ge=2)]
    least_answers: Count
    least_chance: Annotated[float, Field(ge=0, lt=0.25)]

    @field_validator("balanced")
    @classmethod
    def _types_exist(cls, balanced: list[str]) -> list[str]:
        if unknown := [name for name in balanced if name not in QUESTION_TYPES]:
            raise ValueError(f"{unknown[0]}: unknown question type; known: {', '.join(QUESTION_TYPES)}")
        return balanced
