"""A trainer whose checkpoints list their files, and which checks what it loads of one."""

from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict
from safetensors.torch import load_file
from trl import SFTTrainer

from abo_vqa.common.errors import InputError
from abo_vqa.training.history import list_files

ADAPTER = "adapter_model.safetensors"


class CheckedTrainer(SFTTrainer):
    """SFTTrainer with checkpoints that `history.last_checkpoint` can check; it resumes with exactly their weights."""

    def _save_rng_state(self, output_dir: str) -> None:
        # Called last but for the Trainer's state, after which it deletes older checkpoints.
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()  # each process has written a file
        if self.args.should_save:
            list_files(Path(output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        # Where adapters do not fit, PEFT warns and leaves the weights as they are.
        saved = load_file(Path(resume_from_checkpoint, ADAPTER))
        loaded = get_peft_model_state_dict(self.accelerator.unwrap_model(model or self.model))
        if saved.keys() != loaded.keys() or not all(torch.equal(loaded[key].cpu(), saved[key]) for key in saved):
            raise InputError(
                f"{resume_from_checkpoint}: its adapter was not loaded as it was saved; delete "
                f"{Path(resume_from_checkpoint).parent} to train from the beginning"
            )
