"""Stage train: one arm's questions and the base model in, its adapter and training curve out."""

import argparse
import shutil
import sys
from pathlib import Path

from abo_vqa.catalog.tables import replacing, write_json
from abo_vqa.params import Params, read_params
from abo_vqa.seeds import derive_seed
from abo_vqa.stages import run_stage
from abo_vqa.stages.files import ADAPTERS, CURVES, RUNS, read_image_bytes, read_questions

CHECKPOINTS = Path("models/checkpoints")

CARD = """---
base_model: {base}
library_name: peft
---
# Adapter of the `{arm}` arm

Trained by `dvc repro train@{arm}` (abo-vqa) on {questions} questions; the share of prompts that showed the options went
from {first:g} to {last:g}. LoRA rank {rank}, {trainable:,} trainable of {total:,} parameters. It answers product
questions in one word; what it is worth stands in `reports/comparison.md` of the run that made it.
"""


def main() -> None:
    """Train one arm as params.yaml describes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arm", required=True, help="an arm of params.yaml")
    name = parser.parse_args().arm
    params = read_params()
    params.arm(name)
    train(name, params)


def train(name: str, params: Params) -> None:
    """Train the arm `name`, write adapter, curve and run id, and log the run."""
    # Imported here: a wrong parameter is reported at once, before seconds of importing torch.
    import pandas as pd
    import torch

    from abo_vqa.model.batches import Collator, audit_labels, training_questions
    from abo_vqa.model.loading import load_base, load_processor
    from abo_vqa.model.training import save_adapter, train_arm
    from abo_vqa.tracking import tracked_run

    arm = params.arm(name)
    rows = read_questions("train")[: params.train.max_questions]
    images = read_image_bytes(row["image_id"] for row in rows)
    dataset = training_questions(rows, arm, params.train.epochs, derive_seed(params.seed, "train"))
    torch.manual_seed(derive_seed(params.seed, "adapter"))
    collator = Collator(load_processor(params.model), images)
    label_example = audit_labels(collator, dataset)
    print(f"labels audited; the first question is\n{label_example}", file=sys.stderr)

    scratch = CHECKPOINTS / name
    with tracked_run(f"train {name}", params, {"arm": name}) as run:
        base = load_base(params.model)
        result = train_arm(base, collator, dataset, params.train, derive_seed(params.seed, "dropout"), scratch)
        card = CARD.format(
            base=params.model.base, arm=name, questions=len(rows), first=arm.options_first, last=arm.options_last,
            rank=params.train.lora.r, trainable=result.trainable, total=result.total,
        )  # fmt: skip
        adapter = ADAPTERS / name
        save_adapter(result.model, adapter, params.model.base, card)
        curve = CURVES / f"{name}.csv"
        with replacing(curve) as temporary:
            pd.DataFrame(result.curve).to_csv(temporary, index=False)
        run.log_history(result.curve)
        clipped = sum(row["grad_norm_pre_clip"] > params.train.max_grad_norm for row in result.curve)
        run.log_metrics(
            {
                "train/questions": float(len(rows)),
                "train/trainable_parameters": float(result.trainable),
                "train/clipped_share": clipped / len(result.curve),
                "train/final_loss": result.curve[-1]["loss"],
            }
        )
        run.log_artifact(adapter)
        run.log_artifact(curve)
        # A stage restored from DVC's cache logs nothing; this file says which run made what was restored.
        write_json(RUNS / f"train-{name}.json", {"run_id": run.id})
    shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    run_stage("train", main)
