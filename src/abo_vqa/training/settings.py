"""Settings of the Trainer, the adapter and the attention implementation, from the parameters."""

import os
import re
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers.utils import is_flash_attn_2_available
from trl import SFTConfig

from abo_vqa.common.errors import InputError
from abo_vqa.common.params.model import LoraParams, TrainParams
from abo_vqa.model.base.parts import vision_parts

# A pass of several questions takes a GPU longer than two processes need to prepare the next.
GPU_WORKERS = 2
FLASH_ATTENTION = (8, 0)  # least compute capability
AUTOCAST = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "no"}


def autocast(params: TrainParams, dtype: torch.dtype) -> str:
    """Return the autocast: the configured one, or that of the base model's number format, and none on CPUs."""
    if params.mixed_precision != "auto":
        return params.mixed_precision
    return AUTOCAST[dtype] if torch.cuda.is_available() else "no"


def trainer_arguments(params: TrainParams, dtype: torch.dtype, seed: int, scratch: Path, validated: bool) -> SFTConfig:
    """Return the Trainer's settings (paper, listings 4 to 6). dtype: the base model computes in it."""
    cuda = torch.cuda.is_available()
    precision, optimizer = autocast(params, dtype), params.optimizer
    if optimizer == "auto":
        optimizer = "paged_adamw_8bit" if cuda else "adamw_torch_fused"
    passes = params.passes()
    workers = params.workers
    if workers == "auto":
        workers = GPU_WORKERS if cuda else 0
    if workers:
        # Otherwise the tokenizer warns in every worker that the process was forked after it had used threads.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return SFTConfig(
        output_dir=str(scratch),
        # The plan repeats the questions for every epoch.
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
        activation_checkpointing=bool(params.gradient_checkpointing),
        # True is 1: every layer.
        activation_checkpointing_kwargs={"use_reentrant": False, "every_n_layers": int(params.gradient_checkpointing)}
        if params.gradient_checkpointing
        else None,
        save_steps=params.save_steps,
        save_total_limit=1,
        eval_strategy="steps" if validated else "no",
        eval_steps=params.save_steps,
        # The best is for `patience` alone.
        metric_for_best_model="accuracy" if validated and params.patience else None,
        greater_is_better=True if validated and params.patience else None,
        restore_callback_states_from_checkpoint=True,
        logging_steps=params.log_steps,
        max_length=None,
        remove_unused_columns=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        # CLIP's last layer never gets a gradient: features are taken before it.
        ddp_find_unused_parameters=params.lora.vision_tower,
        use_cpu=not cuda,
        dataloader_pin_memory=cuda,
        dataloader_num_workers=workers,
        seed=seed % 2**31,
        report_to="none",
        disable_tqdm=False,
    )


def attention(params: TrainParams, dtype: torch.dtype) -> str | None:
    """Return the attention implementation to train with: the configured one, or the fastest; None: as load_base has it.

    dtype: the base model computes in it. Flash attention supports causal masks only; questions packed behind a shared
    image need SDPA. Raises InputError if it is configured and cannot be used.
    """
    if params.attention == "sdpa":
        return "sdpa"
    if params.attention == "auto" and params.packing != "question":
        return None
    lacking = _flash_attention_lacks(dtype)
    if lacking and params.attention == "flash_attention_2":
        raise InputError(f"train.attention: flash_attention_2 {lacking}; set it to sdpa or auto")
    return None if lacking else "flash_attention_2"


def _flash_attention_lacks(dtype: torch.dtype) -> str:
    """Return what keeps flash attention from being used here; "" if nothing does."""
    if not torch.cuda.is_available():
        return "needs a GPU, and PyTorch finds none"
    if torch.cuda.get_device_capability() < FLASH_ATTENTION:
        return f"needs an NVIDIA GPU from Ampere on, which a {torch.cuda.get_device_name()} is not"
    if not is_flash_attn_2_available():
        return "needs the package flash-attn, which is not installed (pip install flash-attn --no-build-isolation)"
    if dtype == torch.float32:
        return "computes in 16 bits only, and model.quantization.compute_dtype is float32"
    return ""


def lora_config(params: LoraParams, model: Any) -> LoraConfig:
    """Return the adapter settings (paper, listing 3); model: the base.

    The paper's suffix targets also match q, k and v of the vision tower, whose last layer never gets a gradient; they
    are excluded unless `vision_tower` is set. Raises InputError for a target that names no layer; PEFT ignores it.
    """
    vision = "|".join(map(re.escape, vision_parts(model)))
    excluded = None if params.vision_tower else rf"({vision})\..*"
    layers = [name for name, _ in model.named_modules() if not (excluded and re.fullmatch(excluded, name))]
    for target in params.targets:
        if not any(layer == target or layer.endswith(f".{target}") for layer in layers):
            raise InputError(f"train.lora.targets: the base model has no layer {target}; remove it or correct its name")
    return LoraConfig(
        r=params.r,
        lora_alpha=params.alpha,
        lora_dropout=params.dropout,
        target_modules=params.targets,
        exclude_modules=excluded,
        bias=params.bias,
        task_type="CAUSAL_LM",
    )
