"""Stage train: train one arm's adapter on the base model; write the adapter and its training curve."""

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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from abo_vqa.common.digests import code_digest, digest, model_identity, package_versions
from abo_vqa.common.layout import (
    ADAPTERS,
    CHECKPOINTS,
    CURVES,
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

if TYPE_CHECKING:
    from abo_vqa.training.trainer import TrainingResult

# A checkpoint made with another version of one of these is not resumed.
PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate")
# Parameters that change a training's duration and memory, not its result; batch_size, accumulation and processes only
# through the questions of an optimizer step. save_steps determines which steps are validated, but a resumed run keeps
# its earlier validations and continues with the new interval.
NOT_DECISIVE = {
    "batch_size", "accumulation", "processes", "gradient_checkpointing", "attention", "feature_cache", "save_steps",
    "log_steps",
}  # fmt: skip

CARD = """---
base_model: {base}
library_name: peft
---
# Adapter of the `{arm}` arm

Trained by `dvc repro train@{arm}` (abo-vqa) on {questions} questions; the share of prompts that showed the options went
from {first:g} to {last:g}. LoRA rank {rank}, {trainable:,} trainable of {total:,} parameters. It answers product
questions in one word; what it is worth stands in `reports/comparison.md` of the run that made it.

| | |
|---|---|
| kept | step {kept} of {steps}, validation accuracy {accuracy} |
| final loss | {loss:.4f} |
| training questions and images | sha256 {data} |
| seed | {seed} |

```json
{params}
```
"""


def main() -> None:
    """Train one arm as configured in params.yaml, in `train.processes` processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arm", required=True, help="an arm of params.yaml")
    name = parser.parse_args().arm
    params = read_params()
    params.arm(name)
    if params.train.processes > 1 and "LOCAL_RANK" not in os.environ:
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={params.train.processes}"]
        os.execv(sys.executable, [sys.executable, *launch, "-m", "abo_vqa.training.stage", "--arm", name])
    train(name, params)


def train(name: str, params: Params) -> None:
    """Train the arm `name`, write adapter, curve and outcome, and log the run; an interrupted training resumes."""
    # Imported here: a wrong parameter is reported at once, before seconds of importing torch.
    import torch
    from accelerate import PartialState

    from abo_vqa.common.layout import with_options
    from abo_vqa.model.base.loading import load_base, load_processor
    from abo_vqa.training.plan import asked_row, audit_labels, training_questions
    from abo_vqa.training.settings import attention
    from abo_vqa.training.trainer import train_arm

    arm, settings = params.arm(name), params.train
    rows, validation = (with_options(read_questions(split), settings.options_from) for split in ("train", "validation"))
    rows, validation = rows[: settings.max_questions], validation[: settings.validation_questions]
    images = read_image_bytes(row["image_id"] for row in [*rows, *validation])
    data = _data_digest(rows, images)
    scratch = checkpoint_folder(name, params, data)
    by_image, prompt = settings.packing == "image", params.prompt_of(name)
    dataset = training_questions(rows, arm, settings.epochs, params.seed_of("train"), by_image, prompt)
    process = PartialState(cpu=not torch.cuda.is_available())
    base = load_base(params.model, attention(settings))
    with process.main_process_first():
        collator = _collator(params, base, load_processor(params.model), images)
    label_example = audit_labels(collator, dataset)
    torch.manual_seed(params.seed_of("adapter"))
    seed = params.seed_of("dropout")
    asked = [asked_row(row, arm.options_last >= 0.5, prompt) for row in _by_image(validation)]
    batches = _validation_batches(asked, collator, settings.passes().questions)
    if not process.is_main_process:
        train_arm(base, collator, dataset, batches, settings, seed, scratch)
        return
    print(f"labels audited; the first question is\n{label_example}", file=sys.stderr)
    with _tracked(name, params) as (run, on_row):
        run.log_dataset(split_table("train"), "training", len(rows))
        run.log_dataset(split_table("validation"), "validation", len(validation))
        started = time.monotonic()
        result = train_arm(base, collator, dataset, batches, settings, seed, scratch, on_row)
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
        f"train {name}: {len(result.curve)} steps{resumed}; kept the adapter of step {result.kept_step}; "
        f"{cost['seconds']:.0f} s, {cost['questions_per_second']:.1f} questions/s, {cost['peak_memory_mb']:,.0f} MB"
    )
    shutil.rmtree(scratch, ignore_errors=True)


def _collator(params: Params, base: Any, processor: Any, images: Mapping[str, bytes]) -> Any:
    from abo_vqa.model.collators import QuestionCollator
    from abo_vqa.model.features import ImageFeatures
    from abo_vqa.model.shared_image import ImageCollator

    context = base.config.get_text_config().max_position_embeddings
    if params.train.packing == "question":
        return QuestionCollator(processor, images, context)
    frozen = params.train.feature_cache and not params.train.lora.vision_tower
    features = ImageFeatures(feature_folder(), images, base, processor) if frozen else None
    return ImageCollator(processor, images, features, context)


def _by_image(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["image_id"], row["qa_id"]))


def _validation_batches(asked: list[dict[str, str]], collator: Any, size: int) -> list[Any]:
    parts = [asked[start : start + size] for start in range(0, len(asked), size)]
    return [collator(part) | {"questions": len(part)} for part in parts]


@contextmanager
def _tracked(name: str, params: Params) -> Iterator[tuple[Any, Callable[[dict[str, float]], None]]]:
    """Open the arm's MLflow run; yield it and a function that logs a row of the curve."""
    from abo_vqa.common.tracking.run import tracked_run

    with tracked_run(f"train {name}", params, {"arm": name, "model": name}) as run:
        yield run, lambda row: run.log_history([row])


def _write(name: str, params: Params, result: "TrainingResult", questions: int, data: str) -> tuple[Path, Path]:
    import pandas as pd

    from abo_vqa.model.adapters import save_adapter

    arm = params.arm(name)
    card = CARD.format(
        base=params.model.base, arm=name, questions=questions, first=arm.options_first, last=arm.options_last,
        rank=params.train.lora.r, trainable=result.trainable, total=result.total, kept=result.kept_step,
        steps=len(result.curve), accuracy="not measured" if result.accuracy is None else f"{result.accuracy:.4f}",
        loss=result.curve[-1]["loss"], data=data, seed=params.seed,
        params=json.dumps(params.train.model_dump(), indent=2),
    )  # fmt: skip
    adapter, curve = ADAPTERS / name, CURVES / f"{name}.csv"
    save_adapter(result.model, adapter, params.model.base, card)
    with replacing(curve) as temporary:
        pd.DataFrame(result.curve).to_csv(temporary, index=False)
    return adapter, curve


def _outcome(result: "TrainingResult", settings: TrainParams, questions: int) -> dict[str, float | None]:
    """Return the training's outcome, which is equal on every machine that reproduces it."""
    from abo_vqa.common.layout import PRE_CLIP

    steps = [row for row in result.curve if "loss" in row]
    return {
        "questions": questions,
        "steps": len(steps),
        "kept_step": result.kept_step,
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
    """Return the folder of this run's checkpoints; delete the arm's checkpoints made from other inputs.

    Its name is a digest of everything that determines the result, so that no run resumes from other inputs.
    """
    settings = params.train
    inputs = {
        "data": data,
        "seed": params.seed,
        # Content or commit: moving the base keeps its checkpoints.
        "base": model_identity(params.model.base, "model.base"),
        "model": params.model.model_dump(mode="json", exclude={"base"}),
        "prompt": params.prompt_of(name).model_dump(mode="json"),
        "train": settings.model_dump(mode="json", exclude=NOT_DECISIVE),
        "questions_per_step": settings.batch_size * settings.accumulation,
        "arm": params.arm(name).model_dump(mode="json", exclude={"prompt"}),
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
