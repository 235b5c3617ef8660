"""params.yaml as typed, frozen, validated structures.

Every stage reads its parameters only here. Unknown keys, wrong types and impossible values raise an error with the
key's full name, so that a typo in `dvc exp run -S` cannot silently train the wrong thing.
"""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from abo_vqa.common.draws import derive_seed
from abo_vqa.common.params.data import GenerateParams, MatchingParams, SampleParams, SplitParams, ValidateParams
from abo_vqa.common.params.engine import RayParams
from abo_vqa.common.params.group import Group, ParamsError, check_names
from abo_vqa.common.params.measure import (
    AuditParams,
    CompareParams,
    ConditionParams,
    EvaluateParams,
    RegistryParams,
    ReportParams,
)
from abo_vqa.common.params.model import BASE, ArmParams, ModelParams, PromptParams, TrainParams, model_name
from abo_vqa.common.project import PARAMS_FILE

# pydantic's name for the member of a union that refused a value, such as literal['auto'].
_MEMBER = re.compile(r"constrained-\w+|literal\[.*\]")


class Params(Group):
    """All of params.yaml."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    engine: Literal["local", "ray"] = "local"
    ray: RayParams = RayParams()
    sample: SampleParams
    generate: GenerateParams
    validate_: Annotated[ValidateParams, Field(alias="validate")]
    split: SplitParams
    matching: MatchingParams
    audit: AuditParams
    model: ModelParams
    prompt: PromptParams
    train: TrainParams
    arms: Annotated[dict[str, ArmParams], Field(min_length=1)]
    evaluate: EvaluateParams
    compare: CompareParams
    registry: RegistryParams
    report: ReportParams

    @field_validator("arms")
    @classmethod
    def _plainly_named(cls, arms: dict[str, ArmParams]) -> dict[str, ArmParams]:
        check_names(arms)
        return arms

    @model_validator(mode="after")
    def _no_arm_is_called_base(self) -> "Params":
        if BASE in self.arms:
            raise ValueError(f"arms.{BASE}: this is the name of the model without an adapter; choose another")
        return self

    @model_validator(mode="after")
    def _planned_comparisons_can_be_made(self) -> "Params":
        for place, planned in enumerate(self.compare.planned):
            for key, name in (("first", planned.first), ("second", planned.second)):
                if name not in self.compared():
                    raise ValueError(
                        f"compare.planned.{place}.{key}: unknown model {name}; known: {', '.join(self.compared())}"
                    )
            for name in planned.conditions:
                if name not in self.evaluate.conditions:
                    known = ", ".join(self.evaluate.conditions)
                    raise ValueError(
                        f"compare.planned.{place}.conditions: {name} is not in evaluate.conditions ({known})"
                    )
        return self

    @model_validator(mode="after")
    def _champions_can_be_judged(self) -> "Params":
        for name in self.registry.champion_under:
            if name not in self.evaluate.conditions:
                known = ", ".join(self.evaluate.conditions)
                raise ValueError(f"registry.champion_under: {name} is not in evaluate.conditions ({known})")
        return self

    def seed_of(self, *names: str | int) -> int:
        """Return the seed of one named draw; adding other draws does not change it."""
        return derive_seed(self.seed, *names)

    def compared(self) -> list[str]:
        """Return what is compared: `base` and every arm."""
        return [BASE, *self.arms]

    def runs_of(self, name: str) -> list[str]:
        """Return the models of an arm, one per training seed, such as standard-1; of `base`, just `base`."""
        return [BASE] if name == BASE else [model_name(name, seed) for seed in self.train.replicates]

    def models(self) -> list[str]:
        """Return the models that are evaluated: `base` and every training run of every arm."""
        return [model for name in self.compared() for model in self.runs_of(name)]

    def conditions(self) -> dict[str, ConditionParams]:
        """Return all conditions that models are asked under: params.yaml's and their counterparts."""
        return self.evaluate.all_conditions()

    def training_of(self, model: str) -> tuple[str, int]:
        """Return arm and training seed of a model; raises ParamsError listing the known ones."""
        for arm in self.arms:
            for seed in self.train.replicates:
                if model == model_name(arm, seed):
                    return arm, seed
        known = ", ".join(name for name in self.models() if name != BASE)
        raise ParamsError(f"{model}: no such model of arms and train.replicates; params.yaml has {known}")

    def arm_of(self, model: str) -> str:
        """Return the arm of a model, or `base`; raises ParamsError for an unknown model."""
        return BASE if model == BASE else self.training_of(model)[0]

    def prompt_of(self, name: str) -> PromptParams:
        """Return the prompt that an arm, or `base`, is trained and evaluated with."""
        own = self.arms[name].prompt if name in self.arms else None
        return own or self.prompt

    def arm(self, name: str) -> ArmParams:
        """Return one arm by name; raises ParamsError listing the known ones."""
        if name not in self.arms:
            raise ParamsError(f"arms.{name}: no such arm; params.yaml has {', '.join(sorted(self.arms))}")
        return self.arms[name]


def read_params(path: Path = PARAMS_FILE) -> Params:
    """Read and validate params.yaml.

    YAML 1.2 rules apply (ruamel), so `1e-05`, which DVC writes for `-S train.learning_rate=1e-5`, is a float.
    Raises ParamsError with one line per invalid key.
    """
    if not path.is_file():
        raise ParamsError(f"{path}: not found; run from the root of the project")
    try:
        values = YAML(typ="safe", pure=True).load(path)
    except YAMLError as error:
        raise ParamsError(f"{path}: not valid YAML: {error}") from error
    return check_params(values, path)


def check_params(values: Any, source: Path = PARAMS_FILE) -> Params:
    """Validate plain values as parameters; raises ParamsError with one line per invalid key."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        lines = [_explain(source, problem) for problem in error.errors()]
        raise ParamsError("\n".join(lines)) from None


def _explain(source: Path, problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"] if not _MEMBER.fullmatch(str(part))) or "(top level)"
    if problem["type"] == "extra_forbidden":
        near = get_close_matches(str(problem["loc"][-1]), _beside(problem["loc"]), n=1, cutoff=0.5)
        return f"{source}: {key}: unknown parameter; " + (
            f"did you mean {near[0]}?" if near else "remove it or correct its name"
        )
    if problem["type"] == "missing":
        return f"{source}: {key}: missing; add it (git show HEAD:{PARAMS_FILE} has every key with its unit)"
    message = problem["msg"].removeprefix("Value error, ")
    given = problem["input"]
    shown = f" (given: {given!r})" if isinstance(given, str | int | float | bool | None) else ""
    return f"{source}: {key}: {message}{shown}"


def _beside(place: Sequence[str | int]) -> list[str]:
    """Return the names that a key could have at its place."""
    schema = Params.model_json_schema(by_alias=True)
    group = schema
    for part in place[:-1]:
        inner = group.get("properties", {}).get(part) or group.get("additionalProperties") or group.get("items") or {}
        whole = next((one for one in inner.get("anyOf", []) if "$ref" in one), inner)
        group = schema["$defs"][whole["$ref"].rpartition("/")[2]] if "$ref" in whole else whole
    return list(group.get("properties", {}))
