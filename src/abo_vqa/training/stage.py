"""Stage train: one arm's questions and the base model in, its adapter and training curve out."""

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
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from abo_vqa.common.draws import derive_seed
from abo_vqa.common.layout import (
    ADAPTERS,
    CHECKPOINTS,
    CURVES,
    RUNS,
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

# A checkpoint made with another version of one of these is another run's.
LIBRARIES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "accelerate")

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
    """Train one arm as params.yaml describes it, in as many processes as it says."""
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
    """Train the arm `name`, write adapter, curve and run id, and log the run; a killed training goes on."""
    # Imported here: a wrong parameter is reported at once, before seconds of importing torch.
    import torch
    from accelerate import PartialState

    from abo_vqa.common.layout import with_options
    from abo_vqa.model.base.loading import load_base, load_processor
    from abo_vqa.training.plan import audit_labels, training_questions
    from abo_vqa.training.trainer import attention, train_arm

    arm, settings = params.arm(name), params.train
    rows, validation = (with_options(read_questions(split), settings.options_from) for split in ("train", "validation"))
    rows, validation = rows[: settings.max_questions], validation[: settings.validation_questions]
    images = read_image_bytes(row["image_id"] for row in [*rows, *validation])
    data = _data_digest(rows, images)
    scratch = _checkpoints(name, params, data)
    by_image = settings.packing == "image"
    dataset = training_questions(rows, arm, settings.epochs, derive_seed(params.seed, "train"), by_image)
    process = PartialState(cpu=not torch.cuda.is_available())
    base = load_base(params.model, attention(settings))
    with process.main_process_first():
        collator = _collator(params, base, load_processor(params.model), images)
    label_example = audit_labels(collator, dataset)
    torch.manual_seed(derive_seed(params.seed, "adapter"))
    seed = derive_seed(params.seed, "dropout")
    batches = _validation_batches(validation, collator, arm.options_last >= 0.5, settings.passes().questions)
    if not process.is_main_process:
        train_arm(base, collator, dataset, batches, settings, seed, scratch)
        return
    print(f"labels audited; the first question is\n{label_example}", file=sys.stderr)
    with _tracked(name, params) as (run_id, run, on_row):
        run.log_dataset(split_table("train"), "training", len(rows))
        run.log_dataset(split_table("validation"), "validation", len(validation))
        started = time.monotonic()
        result = train_arm(base, collator, dataset, batches, settings, seed, scratch, on_row)
        seconds = time.monotonic() - started
        adapter, curve = _write(name, params, result, len(rows), data)
        metrics = _metrics(result, settings, len(rows), seconds)
        run.log_metrics({f"train/{key}": value for key, value in metrics.items()})
        write_json(TRAINING / f"{name}.json", metrics)
        run.log_artifact(adapter)
        run.log_artifact(curve)
        # A stage restored from DVC's cache logs nothing; this file says which run made what was restored.
        write_json(RUNS / f"train-{name}.json", {"run_id": run_id})
    went_on = f", went on from step {result.resumed_step}" if result.resumed_step else ""
    print(f"train {name}: {len(result.curve)} steps{went_on}; the adapter of step {result.kept_step} is kept")
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


def _validation_batches(rows: list[dict[str, Any]], collator: Any, with_options: bool, size: int) -> list[Any]:
    """Return the batches that the training is validated on, asked as the arm is asked at its end."""
    from abo_vqa.training.plan import asked_row

    rows = sorted(rows, key=lambda row: (row["image_id"], row["qa_id"]))
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    return [collator([asked_row(row, with_options) for row in part]) | {"questions": len(part)} for part in parts]


@contextmanager
def _tracked(name: str, params: Params) -> Iterator[tuple[str, Any, Callable[[dict[str, float]], None]]]:
    """Open the arm's MLflow run; the third value logs a row of the curve to it."""
    from abo_vqa.common.tracking.run import tracked_run

    with tracked_run(f"train {name}", params, {"arm": name, "model": name}) as run:
        yield run.id, run, lambda row: run.log_history([row])


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


def _metrics(
    result: "TrainingResult", settings: TrainParams, questions: int, seconds: float
) -> dict[str, float | None]:
    """Return what the training came to, and what it took (the paper's Table 5).

    seconds, questions_per_second: of this process alone, so from resumed_step on. peak_memory_mb: the GPU's, or else
    the process's.
    """
    import torch

    from abo_vqa.common.layout import PRE_CLIP

    cuda = torch.cuda.is_available()
    peak = torch.cuda.max_memory_allocated() if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    steps = [row for row in result.curve if "loss" in row]
    asked = (len(steps) - result.resumed_step) * settings.batch_size * settings.accumulation
    return {
        "questions": questions,
        "steps": len(steps),
        "kept_step": result.kept_step,
        "resumed_step": result.resumed_step,
        "final_loss": steps[-1]["loss"],
        "validation_accuracy": result.accuracy,
        "clipped_share": sum(row[PRE_CLIP] > settings.max_grad_norm for row in steps) / len(steps),
        "parameters": result.total,
        "trainable_parameters": result.trainable,
        "trainable_share": result.trainable / result.total,
        "peak_memory_mb": peak / 2**20,
        "seconds": seconds,
        "questions_per_second": asked / seconds,
    }


def _data_digest(rows: list[dict[str, Any]], images: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True, default=str).encode())
    for name in sorted(images):
        digest.update(name.encode() + hashlib.sha256(images[name]).digest())
    return digest.hexdigest()


def _checkpoints(name: str, params: Params, data: str) -> Path:
    """Return the folder of this run's checkpoints; those of the arm's runs with other inputs are deleted.

    Its name is a digest of everything that decides about the result, so that no run goes on with another's work.
    """
    digest = hashlib.sha256(data.encode())
    inputs = params.model_dump(mode="json", include={"seed", "model", "train"}) | {"arm": vars(params.arm(name))}
    digest.update(json.dumps([inputs, [version(library) for library in LIBRARIES]], sort_keys=True).encode())
    sources = [Path(__file__), *Path(__file__).parents[1].joinpath("model").glob("*.*")]
    for path in sorted(sources) + sorted(path for path in Path(params.model.base).rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    folder = CHECKPOINTS / f"{name}-{digest.hexdigest()[:16]}"
    for other in CHECKPOINTS.glob(f"{name}-{'[0-9a-f]' * 16}"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    return folder


if __name__ == "__main__":
    run_stage("train", main)
