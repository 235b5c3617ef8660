"""QLoRA training of one arm with TRL's SFTTrainer, recording gradient norms before and after clipping."""

import math
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from datasets import Dataset
from peft import PeftModel
from torch.nn.functional import cross_entropy, pad
from torch.nn.utils import get_total_norm
from torch.utils.data import SequentialSampler
from transformers import EarlyStoppingCallback, PreTrainedModel, TrainerCallback

from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import ACCURACY, POST_CLIP, PRE_CLIP, SKIPPED
from abo_vqa.common.params.model import TrainParams
from abo_vqa.model.adapters import adapter_digest
from abo_vqa.model.base.loading import guard_cpu_quantization
from abo_vqa.model.base.parts import language_part, vision_parts
from abo_vqa.model.collators import IGNORED
from abo_vqa.model.finite import check_finite
from abo_vqa.model.images import model_inputs
from abo_vqa.training.averaging import AverageWeights
from abo_vqa.training.bounded_trainer import BoundedTrainer
from abo_vqa.training.history import Row, applied, curve, history, last_checkpoint
from abo_vqa.training.progress import use_bar
from abo_vqa.training.settings import lora_config, trainer_arguments
from abo_vqa.training.soundness import NO_GRADIENT, check_skipped, check_step

# Components of trainable parameters, beside those of language model and vision tower, by a part of their names.
ADAPTERS = {"lora_A": ".lora_A.", "lora_B": ".lora_B."}


@dataclass(frozen=True)
class TrainingResult:
    """A trained adapter and its curve: one row per optimizer step with loss, learning rate and gradient norms.

    The adapter is the average over the last steps (train.average). accuracy: its validation accuracy, None without
    validation. weights: the adapter's digest when it was measured. resumed_step: the last step before this process
    resumed, 0 in an uninterrupted run.
    """

    model: PeftModel
    curve: list[Row]
    trainable: int
    total: int
    accuracy: float | None
    weights: str
    resumed_step: int


class ArmTrainer(BoundedTrainer):
    """SFTTrainer that keeps the planned question order and records every optimizer step.

    The Trainer logs only the norm before clipping; taken for the applied norm, it suggests that clipping does not work,
    as the paper concluded. Rows are stored in the Trainer's history, so that a resumed run has them all.
    """

    def __init__(
        self,
        validation: Sequence[dict[str, Any]],
        average: float,
        tokens_per_pass: int | Literal["auto"],
        on_row: Callable[[Row], None],
        **kwargs: Any,
    ) -> None:
        """Pass on SFTTrainer's arguments; `validation` contains collated batches, `on_row` is called with every row.

        average: the share of the steps, the last ones, over which the trained weights are averaged. tokens_per_pass:
        as train.tokens_per_pass.
        """
        super().__init__(tokens_per_pass, **kwargs)
        # Not every model counts the step's answer tokens; we do (compute_loss).
        self.model_accepts_loss_kwargs = True
        self._validation, self._ends = validation, kwargs["processing_class"].ends
        # TRL casts the adapters of a quantized model to bfloat16; float32 keeps the training exact.
        model = cast(torch.nn.Module, self.model)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        base = cast(PeftModel, self.model).get_base_model()
        self._components = {"language": f"{language_part(base)}.", "vision": f"{vision_parts(base)[0]}."} | ADAPTERS
        self.average = AverageWeights(model, average)
        self.add_callback(self.average)
        self._on_row = on_row
        self._step_loss = torch.zeros(())

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        """Keep the planned order; see abo_vqa.training.plan.training_plan."""
        return SequentialSampler(cast(Sized, self.train_dataset))

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Return the summed loss of the answer tokens divided by their number in the whole optimizer step.

        Logits are computed for these tokens only; TRL does that only on Triton devices.
        """
        logits, targets = answer_logits(model, inputs)
        loss = cross_entropy(logits.float(), targets, reduction="sum") / num_items_in_batch
        if not loss.requires_grad:
            raise InputError(NO_GRADIENT)
        # num_items_in_batch counts the tokens of all processes, whose gradients are averaged afterwards.
        return loss * self.accelerator.num_processes

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Run a batch's forward and backward passes and add its share to the step's loss."""
        loss = super().training_step(*args, **kwargs)
        self._step_loss = self._step_loss.to(loss.device) + loss
        return loss

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Create the optimizer, and let the loss scaler skip its steps itself.

        A fused optimizer skips inside its kernel, where accelerate does not see it: the schedule would advance.
        """
        optimizer: Any = super().create_optimizer(*args, **kwargs)
        optimizer._step_supports_amp_scaling = False
        return optimizer

    def _clip_grad_norm(self, model: torch.nn.Module) -> Any:
        # Under float16 the gradients are multiplied by the loss scale, which max_grad_norm does not expect.
        self.accelerator.unscale_gradients()
        # Clipping changes the gradients in place and the optimizer discards them: record both norms here.
        before = component_norms(model, self._components)
        # Not accelerate's function, which unscales again.
        returned = torch.nn.utils.clip_grad_norm_(model.parameters(), self.args.max_grad_norm)
        after = component_norms(model, self._components)
        assert self.lr_scheduler is not None
        # Each process summed the loss of its questions only, times the number of processes (compute_loss).
        loss = float(self.accelerator.reduce(self._step_loss, "mean"))
        row: Row = {
            "step": self.state.global_step + 1,
            "loss": loss,
            "learning_rate": float(self.lr_scheduler.get_last_lr()[0]),
            PRE_CLIP: float(returned),
            POST_CLIP: after.pop("all"),
        }
        scaled = self.accelerator.scaler is not None
        if scaled and not math.isfinite(row[PRE_CLIP]):
            # An overflow is how a scaler finds its scale: it halves it and skips the step.
            row |= {PRE_CLIP: math.nan, POST_CLIP: math.nan, SKIPPED: 1.0}
        else:
            # The optimizer steps next: stop before a non-finite gradient reaches the weights.
            check_step(row)
            row |= {f"{PRE_CLIP}/{name}": value for name, value in before.items() if name != "all"}
            row |= {f"{POST_CLIP}/{name}": value for name, value in after.items()}
            row |= {SKIPPED: 0.0} if scaled else {}
        self._record(row)
        check_skipped(self.state.log_history)
        self._step_loss = torch.zeros(())
        return returned

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # Called before the Trainer writes its state, which makes a checkpoint complete (history.last_checkpoint).
        super()._save(output_dir, state_dict)
        if self.args.should_save:  # every process comes here, one writes
            self.average.save(Path(cast(str, output_dir or self.args.output_dir)))

    def validation_accuracy(self) -> float:
        """Return the share of the validation's prompts that greedy decoding answers correctly."""
        model = self.accelerator.unwrap_model(self.model)
        model.eval()
        hits = [
            hit for batch in self._validation for hit in greedy_hits(model, self._prepare_inputs(batch), self._ends)
        ]
        model.train()
        return sum(hits) / len(hits)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Record the validation accuracy of the current weights."""
        accuracy = self.validation_accuracy()
        self._record({"step": self.state.global_step, ACCURACY: accuracy})
        metrics = {"eval_accuracy": accuracy}
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _record(self, row: Row) -> None:
        self.state.log_history.append(row)
        self._on_row(row)


class UseCurrentSteps(TrainerCallback):
    """Applies the current intervals to a resumed run, where the Trainer would keep the checkpoint's."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Overwrite the intervals and the batch size restored from the checkpoint."""
        state.compute_steps(args, state.max_steps)
        state.train_batch_size = args.train_batch_size


def answer_logits(model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits that predict the labeled tokens, of shape (labeled, vocabulary), and these tokens."""
    following = pad(inputs["labels"][:, 1:], (0, 1), value=IGNORED)
    asked = following != IGNORED
    rest = {name: value for name, value in inputs.items() if name != "labels"}
    return model(**model_inputs(model, rest), use_cache=False, logits_to_keep=asked).logits, following[asked]


@torch.no_grad()
def greedy_hits(model: Any, batch: dict[str, Any], ends: Sequence[int]) -> list[bool]:
    """Return for each question whether greedy decoding would answer with exactly the gold tokens and an end token.

    One teacher-forced pass is enough: greedy decoding generates the gold answer if and only if each of its tokens, and
    then one of `ends`, is the most likely one after those before it.
    """
    logits, targets = answer_logits(model, batch)
    check_finite(logits, "logits", "validation", model)
    # The answers are concatenated; only the end token, which no answer contains, separates them.
    end = int(targets[-1])
    right, whole = [], True
    for said, token in zip(logits.argmax(-1).tolist(), targets.tolist(), strict=True):
        whole = whole and (said == token or (token == end and said in ends))
        if token == end:
            right.append(whole)
            whole = True
    return right


def component_norms(model: torch.nn.Module, components: Mapping[str, str]) -> Row:
    """Return the gradient norm of each component with gradients, and the global one as "all".

    components: a part of its parameters' names, by component.
    """
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    parts = {"all": list(gradients.values())}
    for component, part in components.items():
        if inside := [gradient for name, gradient in gradients.items() if part in name]:
            parts[component] = inside
    # All gradients in a few kernels, and one transfer: an adapter has hundreds of weights.
    return dict(zip(parts, torch.stack([get_total_norm(part) for part in parts.values()]).tolist(), strict=True))


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
    """Train one adapter on the quantized base, resuming from the last complete checkpoint in `scratch`.

    The adapter is the average over the last `train.average` of the steps. validation: the collator's batches, asked
    every `save_steps` and last of the average; nothing is chosen by it. on_row: called with every new row of the curve,
    restored rows first. Raises InputError if the dataset is empty, a step is unsound or the loss scaler skipped all of
    them.
    """
    if len(dataset) == 0:
        raise InputError("no training questions; lower split.validation and split.test or raise sample.products")
    patience = params.patience if validation else None
    trainer = ArmTrainer(
        validation,
        params.average,
        params.tokens_per_pass,
        on_row,
        model=base,
        args=trainer_arguments(params, base.dtype, seed, scratch, bool(validation)),
        train_dataset=dataset,
        eval_dataset=dataset if validation else None,  # unused by our evaluate(), but required by the Trainer
        data_collator=collator,
        processing_class=collator.processor,
        peft_config=lora_config(params.lora, base),
        callbacks=[UseCurrentSteps(), *callbacks, *([EarlyStoppingCallback(patience)] if patience else [])],
    )
    use_bar(trainer)
    model = cast(PeftModel, trainer.model)
    guard_cpu_quantization(model)
    checkpoint = last_checkpoint(scratch)
    restored = history(checkpoint) if checkpoint else []
    for row in restored:
        on_row(row)
    if checkpoint:
        trainer.average.restore(checkpoint)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if not applied(trainer.state.log_history):
        raise InputError(
            f"the gradients overflowed in all {trainer.state.global_step} steps and nothing was learned; train longer, "
            "so that the loss scaler finds its scale, or set train.mixed_precision to bf16 or no"
        )
    trainer.average.apply()
    weights = adapter_digest(model)
    accuracy = trainer.evaluate()["eval_accuracy"] if validation else None
    return TrainingResult(
        model,
        curve(trainer.state.log_history),
        *model.get_nb_trainable_parameters(),
        accuracy=accuracy,
        weights=weights,
        resumed_step=max((int(row["step"]) for row in restored), default=0),
    )
