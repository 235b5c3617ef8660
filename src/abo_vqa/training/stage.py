"""Stage train: train one adapter of an arm on the base model; write the adapter and its training curve."""

import abo_vqa.common.processor  # noqa: F401

import argparse
import hashlib
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from abo_vqa.common.digests import code_digest, digest, model_identity, package_versions
from abo_vqa.common.draws import derive_seed
from abo_vqa.common.layout import (
    ADAPTERS,
    CHECKPOINTS,
    CURVES,
    PRE_CLIP,
    SKIPPED,
    TRAINING,
    feature_folder,
    read_image_bytes,
    read_questions,
    split_table,
)
from abo_vqa.common.params import Params, read_params
from abo_vqa.common.params.model import TrainParams
from abo_vqa.common.runner import run_stage
from abo_vqa.common.storage import replacing, write_json
from abo_vqa.training.history import applied
from abo_vqa.training.launch import use_gpus

if TYPE_CHECKING:
    from abo_vqa.training.trainer import TrainingResult

# How long processes wait for each other, more than any feature cache takes; torchrun ends all of them if one fails.
WAITING = timedelta(days=1)
# A checkpoint made with another version of one of these is not resumed.
PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate", "pillow")
# Parameters that change a training's duration and memory, not its result; batch_size, accumulation and processes only
# through the questions of an optimizer step. save_steps determines which steps are validated, but a resumed run keeps
# its earlier validations and continues with the new interval.
NOT_DECISIVE = {
    "replicates", "batch_size", "accumulation", "tokens_per_pass", "processes", "workers", "gradient_checkpointing",
    "attention", "feature_cache", "save_steps", "log_steps",
}  # fmt: skip

CARD = """---
base_model: {base}
library_name: peft
---
# Adapter of the `{arm}` arm, training seed {seed}

Trained by `dvc repro train@{name}` (abo-vqa) on {questions} questions; the share of prompts that showed the options
went from {first:g} to {last:g}. LoRA rank {rank}, {trainable:,} trainable of {total:,} parameters. It answers product
questions in one word; its accuracy is in `reports/comparison.md` of the run that made it.

| | |
|---|---|
| weights | average over the last {average:.0%} of {steps} steps |
| validation accuracy | {accuracy} |
| final loss | {loss:.4f} |
| training questions and images | sha256 {data} |

```json
{params}
```
"""


def main() -> None:
    """Train one model as configured in params.yaml, in `train.processes` processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="an arm and a training seed of params.yaml, as standard-1")
    name = parser.parse_args().model
    params = read_params()
    params.training_of(name)
    settings = use_gpus(params.train)
    params = params.model_copy(update={"train": settings})
    if settings.processes != 1 and "LOCAL_RANK" not in os.environ:
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={settings.processes}"]
        os.execv(sys.executable, [sys.executable, *launch, "-m", "abo_vqa.training.stage", "--model", name])
    train(name, params)


def train(name: str, params: Params) -> None:
    """Train the model `name`, write adapter, curve and outcome, and log the run; an interrupted training resumes.

    The arm's training seed draws the order of the questions, the first adapter and the dropout: equal for all arms.
    """
    # Imported here: a wrong parameter is reported at once, before seconds of importing torch.
    import torch
    from accelerate import PartialState

    from abo_vqa.common.layout import with_options
    from abo_vqa.model.base.loading import compute_dtype, load_base, load_processor
    from abo_vqa.training.choose import collator_for
    from abo_vqa.training.plan import audit_labels, refuse_special_tokens, training_questions, validation_questions
    from abo_vqa.training.settings import attention
    from abo_vqa.training.trainer import train_arm

    (arm_name, seed), settings = params.training_of(name), params.train
    arm = params.arm(arm_name)
    rows, validation = (with_options(read_questions(split), settings.options_from) for split in ("train", "validation"))
    rows = rows[: settings.max_questions]
    images = read_image_bytes(row["image_id"] for row in [*rows, *validation])
    data = _data_digest(rows, images)
    scratch = checkpoint_folder(name, params, data)
    by_image, prompt = settings.packing != "question", params.prompt_of(arm_name)
    order, per_step = derive_seed(seed, "order"), settings.batch_size * settings.accumulation
    dataset = training_questions(rows, arm, settings.epochs, order, by_image, prompt, per_step)
    process = PartialState(cpu=not torch.cuda.is_available(), timeout=WAITING)
    processor = load_processor(params.model)
    refuse_special_tokens(processor.tokenizer, [*rows, *validation])
    base = load_base(params.model, attention(settings, compute_dtype(params.model.quantization)))
    collator = collator_for(settings, base, processor, images, dataset, feature_folder())
    label_example = audit_labels(collator, dataset)
    torch.manual_seed(derive_seed(seed, "adapter"))
    dropout = derive_seed(seed, "dropout")
    asked = validation_questions(validation, settings.validation_questions, params.seed, prompt)
    batches = _batches(asked, collator, 2 * settings.passes().questions)
    if not process.is_main_process:
        train_arm(base, collator, dataset, batches, settings, dropout, scratch)
        return
    print(f"labels audited; the first question is\n{label_example}", file=sys.stderr)
    with _tracked(name, params) as (run, on_row):
        run.log_dataset(split_table("train"), "training", len(rows))
        run.log_dataset(split_table("validation"), "validation", len(asked) // 2)
        started = time.monotonic()
        result = train_arm(base, collator, dataset, batches, settings, dropout, scratch, on_row)
        seconds = time.monotonic() - started
        adapter, curve = _write(name, params, result, len(rows), data)
        outcome, cost = _outcome(result, settings, len(rows)), _cost(result, settings, seconds)
        run.log_metrics({f"train/{key}": value for key, value in (outcome | cost).items()})
        write_json(TRAINING / f"{name}.json", outcome)
        run.log_artifact(adapter)
        run.log_artifact(curve)
        run.tag_output(adapter)
    resumed = f", resumed from step {result.resumed_step}" if result.resumed_step else ""
    print(
        f"train {name}: {len(result.curve)} steps{resumed}; "
        f"{cost['seconds']:.0f} s, {cost['questions_per_second']:.1f} questions/s, {cost['peak_memory_mb']:,.0f} MB"
    )
    shutil.rmtree(scratch, ignore_errors=True)


def _batches(asked: list[dict[str, str]], collator: Any, size: int) -> list[Any]:
    return [collator(asked[start : start + size]) for start in range(0, len(asked), size)]


@contextmanager
def _tracked(name: str, params: Params) -> Iterator[tuple[Any, Callable[[dict[str, float]], None]]]:
    """Open the arm's MLflow run; yield it and a function that logs a row of the curve."""
    from abo_vqa.common.tracking.run import model_tags, tracked_run

    with tracked_run(f"train {name}", params, model_tags(name, params)) as run:
        yield run, lambda row: run.log_history([row])


def _write(name: str, params: Params, result: "TrainingResult", questions: int, data: str) -> tuple[Path, Path]:
    import pandas as pd

    from abo_vqa.model.adapters import save_adapter

    arm_name, seed = params.training_of(name)
    arm = params.arm(arm_name)
    card = CARD.format(
        base=params.model.base, name=name, arm=arm_name, questions=questions,
        first=arm.options_first, last=arm.options_last,
        rank=params.train.lora.r, trainable=result.trainable, total=result.total, steps=len(result.curve),
        average=params.train.average, accuracy="not measured" if result.accuracy is None else f"{result.accuracy:.4f}",
        loss=applied(result.curve)[-1]["loss"], data=data, seed=seed,
        # Whatever else determines the result is above.
        params=json.dumps(params.train.model_dump(exclude=NOT_DECISIVE - {"batch_size", "accumulation"}), indent=2),
    )  # fmt: skip
    adapter, curve = ADAPTERS / name, CURVES / f"{name}.csv"
    save_adapter(result.model, adapter, params.model.base, card)
    with replacing(curve) as temporary:
        pd.DataFrame(result.curve).to_csv(temporary, index=False)
    return adapter, curve


def _outcome(result: "TrainingResult", settings: TrainParams, questions: int) -> dict[str, float | None]:
    """Return the training's outcome, which is equal on every machine that reproduces it."""
    steps = applied(result.curve)
    skipped = sum(bool(row.get(SKIPPED)) for row in result.curve)
    return {
        "questions": questions,
        "steps": len(steps) + skipped,
        **({"skipped_steps": skipped} if skipped else {}),
        "final_loss": steps[-1]["loss"],
        "validation_accuracy": result.accuracy,
        "clipped_share": sum(row[PRE_CLIP] > settings.max_grad_norm for row in steps) / len(steps),
        "parameters": result.total,
        "trainable_parameters": result.trainable,
        "trainable_share": result.trainable / result.total,
    }


def _cost(result: "TrainingResult", settings: TrainParams, seconds: float) -> dict[str, float]:
    """Return the training's time and memory (the paper's Table 5), which differ between runs and go to MLflow only.

    seconds, questions_per_second: of this process alone, so from resumed_step on. peak_memory_mb: of the GPU, or of the
    process without one.
    """
    import torch

    cuda = torch.cuda.is_available()
    peak = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    steps = len([row for row in result.curve if "loss" in row]) - result.resumed_step
    return {
        "resumed_step": result.resumed_step,
        "peak_memory_mb": peak / 2**20,
        "seconds": seconds,
        "questions_per_second": steps * settings.batch_size * settings.accumulation / seconds,
    }


def _data_digest(rows: list[dict[str, Any]], images: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True, default=str).encode())
    for name in sorted(images):
        digest.update(name.encode() + hashlib.sha256(images[name]).digest())
    return digest.hexdigest()


def checkpoint_folder(name: str, params: Params, data: str) -> Path:
    """Return the folder of this run's checkpoints; delete the model's checkpoints made from other inputs.

    Its name is a digest of everything that determines the result, so that no run resumes from other inputs.
    """
    from abo_vqa.model.base.loading import compute_dtype

    (arm, seed), settings = params.training_of(name), params.train
    inputs = {
        "data": data,
        "seeds": [params.seed, seed],
        # Content or commit: moving the base keeps its checkpoints.
        "base": model_identity(params.model.base, "model.base"),
        "model": params.model.model_dump(mode="json", exclude={"base"}),
        # `auto` resolves differently on different GPUs.
        "compute_dtype": str(compute_dtype(params.model.quantization)),
        "prompt": params.prompt_of(arm).model_dump(mode="json"),
        "train": settings.model_dump(mode="json", exclude=NOT_DECISIVE),
        "questions_per_step": settings.batch_size * settings.accumulation,
        "arm": params.arm(arm).model_dump(mode="json", exclude={"prompt"}),
        "code": code_digest("abo_vqa.training.stage"),
        "packages": package_versions(PACKAGES),
    }
    folder = CHECKPOINTS / f"{name}-{digest(inputs)}"
    for other in CHECKPOINTS.glob(f"{name}-{'[0-9a-f]' * 16}"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    return folder


if __name__ == "__main__":
    run_stage("train", main)
