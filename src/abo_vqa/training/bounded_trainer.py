"""A trainer whose forward passes are bounded by tokens, and which survives a lack of memory."""

import sys
from contextlib import nullcontext
from typing import Any, Literal

import torch

from abo_vqa.common.errors import InputError
from abo_vqa.model.base.memory import free_memory, gpu_memory
from abo_vqa.training.checked_trainer import CheckedTrainer
from abo_vqa.training.passes import RandomState, gradients, kept_bytes, passes, tokens_that_fit


class BoundedTrainer(CheckedTrainer):
    """Trainer that divides a batch into passes of at most `tokens_per_pass` tokens; auto: by the GPU's memory."""

    def __init__(self, tokens_per_pass: int | Literal["auto"], **kwargs: Any) -> None:
        """Pass on SFTTrainer's arguments."""
        super().__init__(**kwargs)
        self._tokens_per_pass: int | Literal["auto"] | None = tokens_per_pass
        self._repeated = False  # this batch, after memory ran out

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Run the forward and backward passes of a batch; return its share of the step's loss.

        Where memory runs out, all of them are repeated: once as they were, for other programs' memory may be free
        again, then in passes of half the tokens.
        """
        random, before = RandomState(), list(gradients(model))
        while True:
            try:
                loss = self._all_passes(model, inputs, num_items_in_batch)
            except torch.OutOfMemoryError as error:
                self._after_running_out(error, inputs)
            else:
                break
            # Not within `except`: there, the error holds what the failed pass has computed.
            for parameter, gradient in before:
                parameter.grad = None if gradient is None else gradient.clone()
            free_memory()
            random.restore()
        self._repeated = False
        return loss

    def _all_passes(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> torch.Tensor:
        if self._tokens_per_pass == "auto":
            self._tokens_per_pass = self._tokens_for_memory(model, inputs, num_items_in_batch)
        parts = passes(inputs, self._tokens_per_pass)
        losses = []
        for part in parts:
            # Processes exchange their gradients in the last pass.
            with nullcontext() if part is parts[-1] else self.accelerator.no_sync(model):
                losses.append(super().training_step(model, part, num_items_in_batch))
        return torch.stack(losses).sum()

    def _tokens_for_memory(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> int | None:
        """Return how many tokens fit into the GPU's memory, as the first sequence shows; None on a CPU."""
        total = gpu_memory()
        if total is None:
            return None
        random, used = RandomState(), torch.cuda.memory_allocated()
        first = self._prepare_inputs(passes(inputs, 1)[0])
        with self.compute_loss_context_manager():
            kept = kept_bytes(lambda: self.compute_loss(model, first, num_items_in_batch=num_items_in_batch), model)
        random.restore()
        trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        return tokens_that_fit(total, used, trainable, kept / first["input_ids"].numel())

    def _after_running_out(self, error: torch.OutOfMemoryError, inputs: dict[str, Any]) -> None:
        """Choose the size of the next attempt's passes; InputError if none is left."""
        limit = None if self._tokens_per_pass == "auto" else self._tokens_per_pass
        largest = max((part["input_ids"] for part in passes(inputs, limit)), key=torch.numel)
        half = largest.numel() // 2
        if self.accelerator.num_processes > 1:
            # The other processes wait for this one's gradients, of which they may have a part already.
            raise InputError(
                f"out of memory in a pass of {largest.numel()} tokens; set train.tokens_per_pass: {half} and run the "
                "stage again: it continues from its checkpoint"
            ) from error
        if not self._repeated:
            self._repeated = True
            return
        if len(largest) == 1:
            raise InputError(
                f"out of memory in a pass of one sequence, {largest.numel()} tokens; set train.gradient_checkpointing: "
                "true and run the stage again: it continues from its checkpoint"
            ) from error
        self._tokens_per_pass = half
        print(
            f"train: out of memory in a pass of {largest.numel()} tokens; continuing with {half}; to start with it, "
            f"set train.tokens_per_pass: {half}",
            file=sys.stderr,
        )
