"""params.yaml as typed, frozen, checked structures.

Every stage reads its parameters here and nowhere else. An unknown key, a wrong type or an impossible value is refused
with the key's full name, so that a typing error in `dvc exp run -S` cannot silently train the wrong thing.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from abo_vqa.errors import InputError

PARAMS_FILE = Path("params.yaml")

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]


class ParamsError(InputError):
    """A parameter is unknown, of the wrong type, or impossible; the message names it and says what to do."""


class Group(BaseModel):
    """A group of parameters: frozen, without unknown keys, without silent conversion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SampleShares(Group):
    """Parts of the sample drawn by each of the paper's three stages (section 2.3); they sum to 1."""

    stratified: Share
    top_types: Share
    rare_types: Share

    @model_validator(mode="after")
    def _sum_to_one(self) -> "SampleShares":
        total = self.stratified + self.top_types + self.rare_types
        if abs(total - 1) > 1e-9:
            raise ValueError(f"stratified + top_types + rare_types must be 1, not {total:g}")
        return self


class SampleParams(Group):
    """The three-stage sampler (paper, section 2.3)."""

    listings: str
    images: str
    products: Count
    reference_size: Count
    shares: SampleShares
    strata: Count
    stratum_text: Annotated[
        list[Literal["product_type", "brand", "color", "material", "shape", "item_name"]], Field(min_length=1)
    ]
    amazonbasics_cap: Annotated[int, Field(ge=0)]
    shoes_cap: Annotated[int, Field(ge=0)]
    top_types: Count
    rare_outside: Count
    max_malformed_lines: Share
    max_damaged_shards: Annotated[int, Field(ge=0)]
    max_unreadable_images: Share


class RepairParams(Group):
    """Which repairs are made (questions/repair.py); a question lists those that changed it by these names."""

    read_letters: bool
    fold: bool
    split_types: bool
    number_words: bool
    put_answer_into_options: bool
    drop_extra_option: bool
    fill_missing_distractor: bool


class ValidateParams(Group):
    """What is repaired in a question, and what it must satisfy then (paper, section 3.1)."""

    suite: str
    repairs: RepairParams
    options: Annotated[int, Field(ge=2, le=8)]
    counting_max: Count
    max_quarantined: Share


class SplitParams(Group):
    """Shares of products in the validation and test splits, the rest trains; and which images are kept together."""

    validation: Annotated[float, Field(gt=0, lt=1)]
    test: Annotated[float, Field(gt=0, lt=1)]
    near_duplicate_bits: Annotated[int, Field(ge=0, le=64)]

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> "SplitParams":
        if self.validation + self.test >= 1:
            raise ValueError("validation + test must be below 1, or nothing is left to train on")
        return self


class MatchingParams(Group):
    """Options and questions chosen so that the text does not tell the answer (questions/matching.py)."""

    balanced: list[Literal["yes/no", "color", "material", "shape", "counting", "comparison", "attribute"]]
    folds: Annotated[int, Field(ge=2)]
    least_answers: Count
    least_chance: Annotated[float, Field(ge=0, lt=0.25)]


class AuditParams(Group):
    """What a predictor that never sees the image scores."""

    folds: Annotated[int, Field(ge=2)]
    resamples: Count
    encoder: str


class QuantizationParams(Group):
    """bitsandbytes 4-bit loading (paper, listing 2)."""

    load_in_4bit: bool
    quant_type: Literal["nf4", "fp4"]
    double_quant: bool
    compute_dtype: Literal["float32", "bfloat16", "float16"]


class ModelParams(Group):
    """The base model."""

    base: str
    revision: str | None
    quantization: QuantizationParams


class SamplingParams(Group):
    """How the generator draws its tokens (paper, section 3.1)."""

    do_sample: bool
    temperature: Positive
    top_p: Annotated[float, Field(gt=0, le=1)]
    top_k: Annotated[int, Field(ge=0)]
    repetition_penalty: Positive


class VlmParams(ModelParams):
    """The vision-language model that writes questions (paper, section 3.1)."""

    prompt: str
    constrained: bool
    # xgrammar 0.2.8 cannot compile a longer repetition.
    longest_question: Annotated[int, Field(ge=20, le=128)]
    longest_word: Annotated[int, Field(ge=3, le=128)]
    max_new_tokens: Count
    batch_size: Count
    sampling: SamplingParams


class GenerateParams(Group):
    """Where the questions come from (paper, section 3.1)."""

    source: Literal["metadata", "recorded", "vlm"]
    recorded: str | None
    vlm: VlmParams

    @model_validator(mode="after")
    def _recorded_needs_a_file(self) -> "GenerateParams":
        if self.source == "recorded" and not self.recorded:
            raise ValueError("source: recorded needs generate.recorded, the path of the saved outputs")
        return self


class LoraParams(Group):
    """The adapters (paper, listing 3)."""

    r: Count
    alpha: Count
    dropout: Annotated[float, Field(ge=0, lt=1)]
    targets: Annotated[list[str], Field(min_length=1)]
    vision_tower: bool
    bias: Literal["none", "all", "lora_only"]


class Passes(NamedTuple):
    """How one process divides an optimizer step: questions per forward pass, passes per step."""

    questions: int
    accumulation: int


class TrainParams(Group):
    """The optimisation (paper, listings 4 to 6)."""

    options_from: Literal["given", "matched"]

    epochs: Positive
    packing: Literal["image", "question"]
    batch_size: Count
    accumulation: Count
    processes: Count
    learning_rate: Positive
    schedule: str
    warmup: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    max_grad_norm: Positive
    optimizer: str
    mixed_precision: Literal["auto", "no", "bf16", "fp16"]
    gradient_checkpointing: bool
    attention: Literal["auto", "sdpa", "flash_attention_2"]
    feature_cache: bool
    save_steps: Count
    log_steps: Count
    max_questions: Count | None
    validation_questions: Annotated[int, Field(ge=0)]
    patience: Count | None
    lora: LoraParams

    @model_validator(mode="after")
    def _attention_takes_a_mask(self) -> "TrainParams":
        if self.packing == "image" and self.attention == "flash_attention_2":
            raise ValueError(
                "attention: flash_attention_2 takes no mask, which packing: image needs; set one of them otherwise"
            )
        return self

    @model_validator(mode="after")
    def _divides_among_processes(self) -> "TrainParams":
        self.passes()
        return self

    def passes(self) -> Passes:
        """Return what each process does in a step of batch_size x accumulation questions; ValueError if uneven."""
        if self.accumulation % self.processes == 0:
            return Passes(self.batch_size, self.accumulation // self.processes)
        if self.batch_size % self.processes == 0:
            return Passes(self.batch_size // self.processes, self.accumulation)
        raise ValueError(
            f"processes: neither batch_size {self.batch_size} nor accumulation {self.accumulation} can be divided "
            f"evenly among {self.processes} processes"
        )


class ArmParams(Group):
    """One training arm: the share of prompts that show the options, at the first and at the last step."""

    options_first: Share
    options_last: Share


class ConditionParams(Group):
    """What is shown of every test question under a condition; each key may be left out.

    count: options shown, as many as the question has where it is left out.
    """

    image: Literal["shown", "blank"] = "shown"
    options: Literal["none", "given", "matched", "near", "far"] = "given"
    count: Annotated[int, Field(ge=2, le=8)] | None = None
    order: Literal["given", "shuffled", "rotated"] = "given"

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

    first: str
    second: str
    conditions: Annotated[list[str], Field(min_length=1)]

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


class Params(Group):
    """All of params.yaml."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    sample: SampleParams
    generate: GenerateParams
    validate_: Annotated[ValidateParams, Field(alias="validate")]
    split: SplitParams
    matching: MatchingParams
    audit: AuditParams
    model: ModelParams
    train: TrainParams
    arms: Annotated[dict[str, ArmParams], Field(min_length=1)]
    tested: dict[str, str]
    evaluate: EvaluateParams
    compare: CompareParams

    @model_validator(mode="after")
    def _tested_models_exist(self) -> "Params":
        for name in self.tested:
            if name != "base" and name not in self.arms:
                raise ValueError(f"tested.{name}: neither base nor an arm ({', '.join(self.arms)})")
        return self

    @model_validator(mode="after")
    def _planned_comparisons_can_be_made(self) -> "Params":
        for place, planned in enumerate(self.compare.planned):
            for key, name in (("first", planned.first), ("second", planned.second)):
                if name not in self.tested:
                    raise ValueError(
                        f"compare.planned.{place}.{key}: {name} is not tested; tested are {', '.join(self.tested)}"
                    )
            for name in planned.conditions:
                if name not in self.evaluate.conditions:
                    known = ", ".join(self.evaluate.conditions)
                    raise ValueError(
                        f"compare.planned.{place}.conditions: {name} is none of evaluate.conditions ({known})"
                    )
        return self

    def arm(self, name: str) -> ArmParams:
        """Return one arm by name; raises ParamsError naming the known ones."""
        if name not in self.arms:
            raise ParamsError(f"arms.{name}: no such arm; params.yaml has {', '.join(sorted(self.arms))}")
        return self.arms[name]


def read_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check params.yaml.

    YAML 1.2 rules apply (ruamel), so `1e-05`, which DVC writes for `-S train.learning_rate=1e-5`, is a float.
    Raises ParamsError with one line per offending key.
    """
    if not path.is_file():
        raise ParamsError(f"{path}: not found; run from the root of the project")
    try:
        values = YAML(typ="safe", pure=True).load(path)
    except YAMLError as error:
        raise ParamsError(f"{path}: not valid YAML: {error}") from error
    return check_params(values, path)


def check_params(values: Any, source: Path = PARAMS_FILE) -> Params:
    """Turn plain values into checked parameters; raises ParamsError with one line per offending key."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        lines = [_explain(source, problem) for problem in error.errors()]
        raise ParamsError("\n".join(lines)) from None


def _explain(source: Path, problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"]) or "(top level)"
    if problem["type"] == "extra_forbidden":
        return f"{source}: {key}: unknown parameter; remove it or correct its name"
    if problem["type"] == "missing":
        return f"{source}: {key}: missing; add it (git show HEAD:{PARAMS_FILE} has every key with its unit)"
    message = problem["msg"].removeprefix("Value error, ")
    given = problem["input"]
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool | None) else ""
    return f"{source}: {key}: {message}{shown}"
