"""Parameters of the base model, its adapters and their training: model, train, arms."""

from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from abo_vqa.common.params.group import Count, Group, Positive, Share

BASE = "base"  # what the model without adapter is called wherever models are named


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

    options_first: Annotated[Share, Field(description="share of prompts that show the options at the first step")]
    options_last: Annotated[Share, Field(description="the same at the last step; between them it changes linearly")]
