"""QLoRA training of one arm: TRL's SFTTrainer, with gradient norms read on both sides of the clipping."""

import json
import math
import tempfile
from collections.abc import Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from peft import PeftModel
from torch.utils.data import SequentialSampler
from transformers import PreTrainedModel
from trl import SFTConfig, SFTTrainer

from abo_vqa.errors import InputError
from abo_vqa.model.batches import Collator
from abo_vqa.model.loading import guard_cpu_quantization, lora_config
from abo_vqa.params import TrainParams


@dataclass(frozen=True)
class TrainingResult:
    """A trained adapter and its curve: one row per optimizer step with loss, norms before and after clipping, rate."""

    model: PeftModel
    curve: list[dict[str, float]]
    trainable: int
    total: int


class ArmTrainer(SFTTrainer):
    """SFTTrainer that shows questions in the planned order and records every optimizer step.

    The Trainer logs the norm before clipping only; read as the applied one it looks as if clipping did not work, which
    is what the paper concluded.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.curve: list[dict[str, float]] = []
        self._step_loss = 0.0

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        """The plan is the order; see abo_vqa.model.batches.training_plan."""
        return SequentialSampler(cast(Sized, self.train_dataset))

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Run one forward and backward pass and add its share to the step's loss."""
        loss = super().training_step(*args, **kwargs)
        self._step_loss += loss.item()
        return loss

    def _clip_grad_norm(self, model: torch.nn.Module) -> Any:
        before = super()._clip_grad_norm(model)
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        after = torch.nn.utils.get_total_norm(gradients)
        step = self.state.global_step + 1
        assert self.lr_scheduler is not None
        row: dict[str, float] = {
            "step": step,
            "loss": self._step_loss,
            "grad_norm_pre_clip": float(before),
            "grad_norm_post_clip": float(after),
            "learning_rate": float(self.lr_scheduler.get_last_lr()[0]),
        }
        if not all(math.isfinite(value) for value in row.values()):
            raise InputError(
                f"step {step}: loss {row['loss']} or gradient norm {row['grad_norm_pre_clip']} is not finite; "
                "lower train.learning_rate or use another train.mixed_precision"
            )
        self.curve.append(row)
        self._step_loss = 0.0
        return before


def train_arm(
    base: PreTrainedModel, collator: Collator, dataset: Dataset, params: TrainParams, seed: int, scratch: Path
) -> TrainingResult:
    """Train one adapter over the quantised base; `scratch` holds checkpoints while it runs.

    Raises InputError when there is nothing to train on or the loss stops being finite.
    """
    if len(dataset) == 0:
        raise InputError("no training questions; lower split.validation and split.test or raise sample.products")
    trainer = ArmTrainer(
        model=base,
        args=trainer_arguments(params, seed, scratch),
        train_dataset=dataset,
        data_collator=collator,
        processing_class=collator.processor,
        peft_config=lora_config(params.lora),
    )
    # TRL casts the adapters of a quantised model to bfloat16; training in float32 is what makes it exact.
    model = cast(PeftModel, trainer.model)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    guard_cpu_quantization(model)
    trainer.train()
    return TrainingResult(model, trainer.curve, *model.get_nb_trainable_parameters())


def save_adapter(model: PeftModel, folder: Path, base: str, card: str) -> None:
    """Save an ordinary PEFT folder with the given model card, the same bytes for the same weights."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary, "adapter")
        model.save_pretrained(str(made))
        settings = json.loads((made / "adapter_config.json").read_text())
        # PEFT keeps these as sets, which come out in a new order in every process.
        settings["target_modules"] = sorted(settings["target_modules"])
        settings["base_model_name_or_path"] = base
        (made / "adapter_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
        (made / "README.md").write_text(card)
        _replace_folder(made, folder)


def _replace_folder(made: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for new in made.iterdir():
        new.replace(folder / new.name)


def trainer_arguments(params: TrainParams, seed: int, scratch: Path) -> SFTConfig:
    """Return the Trainer's settings (paper, listings 4 to 6)."""
    return SFTConfig(
        output_dir=str(scratch),
        # Epochs are in the plan already.
        num_train_epochs=1,
        per_device_train_batch_size=params.batch_size,
        gradient_accumulation_steps=params.accumulation,
        learning_rate=params.learning_rate,
        lr_scheduler_type=params.schedule,
        warmup_steps=params.warmup,
        weight_decay=params.weight_decay,
        max_grad_norm=params.max_grad_norm,
        optim=params.optimizer,
        bf16=params.mixed_precision == "bf16",
        fp16=params.mixed_precision == "fp16",
        activation_checkpointing=params.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if params.gradient_checkpointing else None,
        save_steps=params.save_steps,
        save_total_limit=1,
        logging_steps=params.log_steps,
        max_length=None,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=seed % 2**31,
        report_to="none",
        disable_tqdm=False,
    )
