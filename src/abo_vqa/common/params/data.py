"""Parameters of the data stages: sample, generate, validate, split, matching."""

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator

from abo_vqa.common.params.group import Count, Group, Positive, Share
from abo_vqa.common.params.model import WeightsParams
from abo_vqa.common.schema import QUESTION_TYPES

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


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


class BudgetParams(Group):
    """What may be spent on an endpoint's answers, over all runs with the same settings; null: no limit."""

    requests: Count | None
    tokens: Count | None
    money: Positive | None


class EndpointParams(Group):
    """An OpenAI-compatible server that writes questions."""

    base_url: str
    model: str
    api_key_env: str | None
    prompt: str
    structured: Literal["auto", "on", "off"]
    longest_question: Annotated[int, Field(ge=20, le=128)]
    longest_word: Annotated[int, Field(ge=3, le=128)]
    max_tokens: Count
    temperature: Annotated[float, Field(ge=0)] | None
    seed: bool
    image_side: Count | None
    in_flight: Count
    timeout_s: Positive
    retries: Annotated[int, Field(ge=0)]
    max_failures: Count
    max_unanswered: Share
    price_input: Annotated[float, Field(ge=0)] | None
    price_output: Annotated[float, Field(ge=0)] | None
    budget: BudgetParams

    # Of the group, not of a field: the message for a field shows its value, which may hold a secret.
    @model_validator(mode="after")
    def _holds_no_secret(self) -> "EndpointParams":
        url = urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError("base_url must begin with http:// or https:// and a host, as http://localhost:8000/v1")
        if url.username is not None or url.password is not None or url.query or url.fragment:
            raise ValueError(
                "base_url must hold neither user, password nor query, since parameters are logged; put the key into "
                "an environment variable and its name into api_key_env"
            )
        if self.api_key_env is not None and not _VARIABLE.fullmatch(self.api_key_env):
            raise ValueError(
                "api_key_env must be the name of an environment variable in capitals, such as OPENAI_API_KEY, and "
                "never the key itself, since parameters are logged"
            )
        return self

    @model_validator(mode="after")
    def _money_has_prices(self) -> "EndpointParams":
        if (self.price_input is None) != (self.price_output is None):
            raise ValueError("price_input and price_output: give both or neither")
        if self.budget.money is not None and not (self.price_input or self.price_output):
            raise ValueError("budget.money needs price_input and price_output, per million tokens")
        return self


class VerifyParams(Group):
    """A second opinion: a model that answers the questions without seeing the proposed answers."""

    source: Literal["endpoint"] | None
    base_url: str | None
    model: str | None
    api_key_env: str | None
    max_tokens: Count

    def server(self, endpoint: EndpointParams) -> EndpointParams:
        """Return the settings of the server to ask: those of the endpoint, but for what is set here."""
        values: dict[str, Any] = {"max_tokens": self.max_tokens, "structured": "off"}
        if self.model is not None:
            values["model"] = self.model
        if self.base_url is not None:  # another server, to which the first one's key must not go
            values |= {"base_url": self.base_url, "api_key_env": self.api_key_env}
        return EndpointParams.model_validate(endpoint.model_dump() | values)


class GenerateParams(Group):
    """The source of the questions (paper, section 3.1)."""

    source: Annotated[str, Field(description="metadata, recorded, vlm or endpoint (src/abo_vqa/generators/stage.py)")]
    recorded: str | None
    vlm: VlmParams
    endpoint: EndpointParams
    verify: VerifyParams

    @model_validator(mode="after")
    def _second_server_can_be_asked(self) -> "GenerateParams":
        try:
            self.verify.server(self.endpoint)
        except ValidationError as error:
            raise ValueError(f"verify: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
        return self

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
