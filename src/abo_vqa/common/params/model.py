"""Parameters of the base model, its adapters and their training: model, train, arms."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, ValidationInfo, field_validator, model_validator

from abo_vqa.common.params.group import Count, Group, Positive, Share
from abo_vqa.common.params.names import optimizers, schedules

_PLACE = re.compile(r"\{(question|options)\}")
BASE = "base"  # name of the model without an adapter


def model_name(arm: str, replicate: int) -> str:
    """Return the name of an arm's model trained with one training seed, as in dvc.yaml: standard-1."""
    return f"{arm}-{replicate}"


class QuantizationParams(Group):
    """bitsandbytes 4-bit loading (paper, listing 2)."""

    load_in_4bit: bool
    quant_type: Literal["nf4", "fp4"]
    double_quant: bool
    compute_dtype: Literal["auto", "float32", "bfloat16", "float16"]


class WeightsParams(Group):
    """A model's weights, and how they are loaded."""

    base: str
    quantization: QuantizationParams


class ModelParams(WeightsParams):
    """The base model."""

    image: Literal["pad", "crop", "resize"] = "pad"


class PromptParams(Group):
    """The prompt after the image; the defaults are the paper's (section 2.4).

    The paper prints `options` with two endings, "one option." and "one word."; its code uses the first.
    """

    open: Annotated[str, Field(description="without options; {question} stands for the question")] = (
        "{question}\nAnswer with just one word."
    )
    options: Annotated[str, Field(description="with options; {options} stands for them, separated by commas")] = (
        "{question}\nOptions: {options}\nAnswer with just one option."
    )

    @model_validator(mode="after")
    def _places_are_there(self) -> "PromptParams":
        for name, places in (("open", ["question"]), ("options", ["options", "question"])):
            text = getattr(self, name)
            if sorted(_PLACE.findall(text)) != places:
                wanted = " and ".join(f"{{{place}}}" for place in places)
                raise ValueError(f"{name}: {text!r} must contain {wanted}, each once")
        return self

    def text(self, question: str, options: Sequence[str] | None) -> str:
        """Return the text after the image; options=None gives the open prompt."""
        values = {"question": question, "options": ", ".join(options or ())}
        # In one pass, so that braces in a question are not replaced.
        return _PLACE.sub(lambda place: values[place[1]], self.open if options is None else self.options)

    def without_question(self) -> str:
        """Return the open prompt with an empty question."""
        return self.text("", None).strip()


PAPER_PROMPT = PromptParams()


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
    """Optimization (paper, listings 4 to 6)."""

    replicates: Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1)]
    options_from: Literal["given", "matched"]
    epochs: Positive
    packing: Literal["image", "question", "auto"]
    batch_size: Count
    accumulation: Count
    tokens_per_pass: Count | Literal["auto"]
    processes: Count | Literal["auto"]
    workers: Annotated[int, Field(ge=0)] | Literal["auto"]
    learning_rate: Positive
    schedule: str
    warmup: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    max_grad_norm: Positive
    average: Share
    optimizer: str
    mixed_precision: Literal["auto", "no", "bf16", "fp16"]
    gradient_checkpointing: bool | Count
    attention: Literal["auto", "sdpa", "flash_attention_2"]
    feature_cache: bool
    save_steps: Count
    log_steps: Count
    max_questions: Count | None
    validation_questions: Annotated[int, Field(ge=0)]
    patience: Count | None
    lora: LoraParams

    @field_validator("replicates")
    @classmethod
    def _different_seeds(cls, seeds: list[int]) -> list[int]:
        if twice := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
            raise ValueError(f"the training seed {twice[0]} is listed twice; a second run of it would be the same")
        return seeds

    @field_validator("optimizer", "schedule")
    @classmethod
    def _transformers_has_it(cls, name: str, field: ValidationInfo) -> str:
        known = optimizers() if field.field_name == "optimizer" else schedules()
        if known and name not in known:
            near = get_close_matches(name, known, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"no such {field.field_name}; {hint}")
        return name

    @model_validator(mode="after")
    def _attention_takes_a_mask(self) -> "TrainParams":
        if self.packing != "question" and self.attention == "flash_attention_2":
            raise ValueError(
                f"attention: flash_attention_2 does not support the mask that packing: {self.packing} needs; change "
                "one of them"
            )
        return self

    @model_validator(mode="after")
    def _divides_among_processes(self) -> "TrainParams":
        self.passes()
        return self

    def passes(self) -> Passes:
        """Return the work of each process in a step of batch_size x accumulation questions; ValueError if uneven.

        `processes: auto` counts as one process until `with_processes` has resolved it.
        """
        processes = 1 if self.processes == "auto" else self.processes
        if self.accumulation % processes == 0:
            return Passes(self.batch_size, self.accumulation // processes)
        if self.batch_size % processes == 0:
            return Passes(self.batch_size // processes, self.accumulation)
        raise ValueError(
            f"processes: neither batch_size {self.batch_size} nor accumulation {self.accumulation} can be divided "
            f"evenly among {processes} processes"
        )

    def with_processes(self, most: int) -> "TrainParams":
        """Return the parameters with `processes: auto` resolved: up to `most`, as many as divide a step evenly."""
        if self.processes != "auto":
            return self
        even = (n for n in range(most, 1, -1) if self.accumulation % n == 0 or self.batch_size % n == 0)
        return self.model_copy(update={"processes": next(even, 1)})


class ArmParams(Group):
    """One training arm: the share of prompts that show the options, at the first and at the last step."""

    options_first: Annotated[Share, Field(description="share of prompts that show the options at the first step")]
    options_last: Annotated[Share, Field(description="the same at the last step; linear in between")]
    prompt: Annotated[PromptParams | None, Field(description="the arm's prompt; default: the common one")] = None
