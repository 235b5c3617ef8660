"""QLoRA training of one arm: TRL's SFTTrainer, with gradient norms read on both sides of the clipping."""

import math
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel
from torch.nn.functional import cross_entropy, pad
from torch.utils.data import SequentialSampler
from transformers import EarlyStoppingCallback, PreTrainedModel, TrainerCallback
from transformers.utils import is_flash_attn_2_available
from trl import SFTConfig, SFTTrainer

from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import ACCURACY, POST_CLIP, PRE_CLIP
from abo_vqa.common.params.model import LoraParams, TrainParams
from abo_vqa.model.base.loading import guard_cpu_quantization
from abo_vqa.model.collators import IGNORED
from abo_vqa.model.features import as_model_input
from abo_vqa.training.history import Row, curve, history, last_checkpoint

# A mean loss below this at the first step leaves nothing to learn: the paper's labels held a constant tail.
ZERO_LOSS = 1e-6
# Which of a question's parts a trainable parameter belongs to, by what its name contains.
COMPONENTS = {"language": ".language_model.", "vision": ".vision_tower.", "lora_A": ".lora_A.", "lora_B": ".lora_B."}

NO_GRADIENT = "no trainable parameter receives a gradient: train.lora.targets match no layer that the answers depend on"


@dataclass(frozen=True)
class TrainingResult:
    """A trained adapter and its curve: a row per optimizer step with loss, learning rate and the gradient norms.

    accuracy: validation accuracy of the adapter that was kept, None where nothing was validated; kept_step: its step.
    resumed_step: the last step that was done before this process went on, 0 in an uninterrupted run.
    """

    model: PeftModel
    curve: list[Row]
    trainable: int
    total: int
    kept_step: int
    accuracy: float | None
    resumed_step: int


class ArmTrainer(SFTTrainer):
    """SFTTrainer that shows questions in the planned order and records every optimizer step.

    The Trainer logs the norm before clipping only; read as the applied one it looks as if clipping did not work, which
    is what the paper concluded. The rows live in the Trainer's own history, so a resumed run has them all.
    """

    def __init__(self, validation: Sequence[dict[str, Any]], on_row: Callable[[Row], None], **kwargs: Any) -> None:
        """Take over SFTTrainer's arguments; `validation` holds ready batches, `on_row` hears of every row."""
        super().__init__(**kwargs)
        self._validation = validation
        self._on_row = on_row
        self._step_loss = torch.zeros(())

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        """The plan is the order; see abo_vqa.training.plan.training_plan."""
        return SequentialSampler(cast(Sized, self.train_dataset))

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Return the sum of the answer tokens' losses over their number in the whole optimizer step.

        Logits are computed for these tokens alone; TRL's own head does that on Triton devices only.
        """
        logits, targets = answer_logits(model, inputs)
        loss = cross_entropy(logits.float(), targets, reduction="sum") / num_items_in_batch
        if not loss.requires_grad:
            raise InputError(NO_GRADIENT)
        # The number counts the tokens of every process, and their gradients are averaged afterwards.
        return loss * self.accelerator.num_processes

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Run one forward and backward pass and add its share to the step's loss."""
        loss = super().training_step(*args, **kwargs)
        self._step_loss = self._step_loss.to(loss.device) + loss
        return loss

    def _clip_grad_norm(self, model: torch.nn.Module) -> Any:
        # Under float16 the gradients still carry the scaler's factor.
        self.accelerator.unscale_gradients()
        before = component_norms(model)
        returned = super()._clip_grad_norm(model)
        after = component_norms(model)
        assert self.lr_scheduler is not None
        loss = float(self.accelerator.reduce(self._step_loss, "mean"))
        row: Row = {
            "step": self.state.global_step + 1,
            "loss": loss,
            "learning_rate": float(self.lr_scheduler.get_last_lr()[0]),
            PRE_CLIP: float(returned),
            POST_CLIP: after.pop("all"),
        }
        check_step(row)
        row |= {f"{PRE_CLIP}/{name}": value for name, value in before.items() if name != "all"}
        row |= {f"{POST_CLIP}/{name}": value for name, value in after.items()}
        self._record(row)
        self._step_loss = torch.zeros(())
        return returned

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Return the validation accuracy: the share of questions whose greedy answer is the right one."""
        model = self.accelerator.unwrap_model(self.model)
        accuracy = greedy_accuracy(model.eval(), map(self._prepare_inputs, self._validation))
        model.train()
        self._record({"step": self.state.global_step, ACCURACY: accuracy})
        metrics = {"eval_accuracy": accuracy}
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _record(self, row: Row) -> None:
        self.state.log_history.append(row)
        self._on_row(row)


class UseCurrentSteps(TrainerCallback):
    """Applies the parameters' intervals to a resumed run, where the Trainer would keep those of the checkpoint."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Overwrite the intervals and the batch size that were restored with the checkpoint."""
        state.compute_steps(args, state.max_steps)
        state.train_batch_size = args.train_batch_size


def answer_logits(model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits before every labelled token, of shape (labelled, vocabulary), and these tokens."""
    rest = {name: value for name, value in inputs.items() if name not in ("labels", "image_features")}
    if "image_features" in inputs:
        rest |= as_model_input(inputs["image_features"])
    following = pad(inputs["labels"][:, 1:], (0, 1), value=IGNORED)
    asked = following != IGNORED
    return model(**rest, use_cache=False, logits_to_keep=asked).logits, following[asked]


@torch.no_grad()
def greedy_accuracy(model: Any, batches: Any) -> float:
    """Return the share of questions that greedy generation would answer with exactly the gold tokens and an end.

    One pass with the answer given decides it: greedy generation says the gold answer if and only if every token of
    it, and the end, is the most likely one after those before it. Every batch needs `questions`, how many it holds.
    """
    right = total = 0
    for batch in batches:
        logits, targets = answer_logits(model, {k: v for k, v in batch.items() if k != "questions"})
        total += int(batch["questions"])
        hits = (logits.argmax(-1) == targets).tolist()
        # Answers stand one behind the other; each ends with the end token, which no answer holds.
        end = int(targets[-1])
        whole = True
        for hit, token in zip(hits, targets.tolist(), strict=True):
            whole = whole and hit
            if token == end:
                right += whole
                whole = True
    return right / total


def component_norms(model: torch.nn.Module) -> Row:
    """Return the norm of the gradients of each component that has any, and under "all" the global one."""
    named = [(name, p.grad) for name, p in model.named_parameters() if p.grad is not None]
    norms = {name: gradient.float().norm() for name, gradient in named}
    found = {"all": [torch.zeros(()), *(norm.cpu() for norm in norms.values())]}
    for component, part in COMPONENTS.items():
        if inside := [norm.cpu() for name, norm in norms.items() if part in name]:
            found[component] = inside
    return {name: float(torch.stack(values).norm()) for name, values in found.items()}


def check_step(row: Row) -> None:
    """Raise InputError for a step that cannot be part of a sound training run, saying what to change."""
    step = int(row["step"])
    if not all(math.isfinite(value) for value in row.values()):
        raise InputError(
            f"step {step}: loss {row['loss']} or gradient norm {row[PRE_CLIP]} is not finite; "
            "lower train.learning_rate or use another train.mixed_precision"
        )
    if step == 1 and row["loss"] < ZERO_LOSS:
        raise InputError(
            f"step 1: the loss is {row['loss']:g} before anything was learned; the labels hold nothing to predict"
        )
    if step == 1 and row[PRE_CLIP] == 0:
        raise InputError(NO_GRADIENT)


def train_arm(
    base: PreTrainedModel,
    collator: Any,
    dataset: Dataset,
    validation: Sequence[dict[str, Any]],
    params: TrainParams,
    seed: int,
    scratch: Path,
    on_row: Callable[[Row], None] = lambda row: None,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainingResult:
    """Train one adapter over the quantised base, going on from the last whole checkpoint in `scratch`.

    validation: batches of the collator with `questions`, how many each holds; the adapter that answers most of them is
    kept, the last one if there are none. on_row hears of every row of the curve as it is made, restored ones first.
    Raises InputError when there is nothing to train on or a step is not sound.
    """
    if len(dataset) == 0:
        raise InputError("no training questions; lower split.validation and split.test or raise sample.products")
    patience = params.patience if validation else None
    try:
        trainer = ArmTrainer(
            validation,
            on_row,
            model=base,
            args=trainer_arguments(params, seed, scratch, bool(validation)),
            train_dataset=dataset,
            eval_dataset=dataset if validation else None,  # evaluate() is ours, but the Trainer wants to see one
            data_collator=collator,
            processing_class=collator.processor,
            peft_config=lora_config(params.lora),
            callbacks=[UseCurrentSteps(), *callbacks, *([EarlyStoppingCallback(patience)] if patience else [])],
        )
    except ValueError as error:
        if "Target modules" in str(error):  # PEFT's own words when none is found
            raise InputError(f"train.lora.targets: {error}") from None
        raise
    # TRL casts the adapters of a quantised model to bfloat16; training in float32 is what makes it exact.
    model = cast(PeftModel, trainer.model)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    guard_cpu_quantization(model)
    checkpoint = last_checkpoint(scratch)
    restored = history(checkpoint) if checkpoint else []
    for row in restored:
        on_row(row)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    state = trainer.state
    return TrainingResult(
        model,
        curve(state.log_history),
        *model.get_nb_trainable_parameters(),
        kept_step=state.best_global_step or state.global_step,
        accuracy=state.best_metric,
        resumed_step=max((int(row["step"]) for row in restored), default=0),
    )


def trainer_arguments(params: TrainParams, seed: int, scratch: Path, validated: bool) -> SFTConfig:
    """Return the Trainer's settings (paper, listings 4 to 6)."""
    cuda = torch.cuda.is_available()
    precision, optimizer = params.mixed_precision, params.optimizer
    if precision == "auto":
        precision = "no" if not cuda else "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if optimizer == "auto":
        optimizer = "paged_adamw_8bit" if cuda else "adamw_torch_fused"
    passes = params.passes()
    return SFTConfig(
        output_dir=str(scratch),
        # Epochs are in the plan already.
        num_train_epochs=1,
        per_device_train_batch_size=passes.questions,
        gradient_accumulation_steps=passes.accumulation,
        learning_rate=params.learning_rate,
        lr_scheduler_type=params.schedule,
        warmup_steps=params.warmup,
        weight_decay=params.weight_decay,
        max_grad_norm=params.max_grad_norm,
        optim=optimizer,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        activation_checkpointing=params.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False} if params.gradient_checkpointing else None,
        save_steps=params.save_steps,
        save_total_limit=1,
        eval_strategy="steps" if validated else "no",
        eval_steps=params.save_steps,
        load_best_model_at_end=validated,
        metric_for_best_model="accuracy" if validated else None,
        greater_is_better=True if validated else None,
        restore_callback_states_from_checkpoint=True,
        logging_steps=params.log_steps,
        max_length=None,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        # CLIP's last layer never gets a gradient: features are taken before it.
        ddp_find_unused_parameters=params.lora.vision_tower,
        use_cpu=not cuda,
        dataloader_pin_memory=cuda,
        seed=seed % 2**31,
        report_to="none",
        disable_tqdm=False,
    )


def attention(params: TrainParams) -> str:
    """Return the attention to train with: what is asked for, or the fastest that works here.

    Flash attention knows causal masks only, so a shared image, whose questions do not see each other, needs SDPA.
    """
    if params.attention != "auto":
        return params.attention
    flash = params.packing == "question" and torch.cuda.is_available() and is_flash_attn_2_available()
    return "flash_attention_2" if flash else "sdpa"


def lora_config(params: LoraParams) -> LoraConfig:
    """Return the adapter settings (paper, listing 3).

    The paper's suffix targets also match q, k and v of the vision tower, whose last layer never gets a gradient;
    unless `vision_tower` is set they are left out.
    """
    return LoraConfig(
        r=params.r,
        lora_alpha=params.alpha,
        lora_dropout=params.dropout,
        target_modules=params.targets,
        exclude_modules=None if params.vision_tower else r".*vision_tower.*",
        bias=params.bias,
        task_type="CAUSAL_LM",
    )
