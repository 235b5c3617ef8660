"""Test accuracy when the questions of one image meet in one optimizer step, against questions dealt one by one.

    PYTHONPATH=src python benchmarks/packing_accuracy.py [--seeds 3] [--arms standard options]

Wants the splits of a finished `dvc repro`. Both ways train with params.yaml, the same 18 questions a step and the same
number of steps, from the same first adapter; only the order differs (batches.training_plan). Both orders run as shared-
image batches, which give the losses and weights of one sequence a question
(tests/abo_vqa/model/test_shared_image.py). Each seed draws another order, another first adapter and another dropout.
Every arm is asked as it was trained.

Two intervals of the difference image minus question: over training seeds (Student's t), and over test images, of the
mean over the seeds that ran.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import t

from abo_vqa.common.draws import derive_seed
from abo_vqa.common.layout import feature_folder, read_image_bytes, read_questions
from abo_vqa.common.params import Params, read_params
from abo_vqa.inference.prompt_tree.scorer import Prompt, Scorer
from abo_vqa.metrics.answers import exact_match
from abo_vqa.model.base.loading import load_base, load_processor
from abo_vqa.model.features import ImageFeatures
from abo_vqa.model.shared_image import ImageCollator
from abo_vqa.statistics.intervals import mean_difference
from abo_vqa.training.plan import asked_row, training_questions
from abo_vqa.training.trainer import train_arm

PACKINGS = ("image", "question")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", default=["standard", "options"])
    parser.add_argument("--keep", type=Path, help="file of finished runs (JSON lines), which are not trained again")
    args = parser.parse_args()
    params = read_params()
    done = [json.loads(line) for line in args.keep.read_text().splitlines()] if args.keep and args.keep.exists() else []
    for arm in args.arms:
        for seed in range(args.seeds):
            for packing in PACKINGS:
                key = {"arm": arm, "seed": seed, "packing": packing}
                if not any(run.items() >= key.items() for run in done):
                    done.append(key | {"correct": correct_answers(params, **key)})
                    if args.keep:
                        with args.keep.open("a") as file:
                            file.write(json.dumps(done[-1]) + "\n")
    wanted = [run for run in done if run["arm"] in args.arms and run["seed"] < args.seeds]
    report(pd.DataFrame(wanted), [row["image_group"] for row in read_questions("test")], params)


def correct_answers(params: Params, arm: str, seed: int, packing: str) -> list[bool]:
    """Train one arm in one order and return which of the test questions it answers right."""
    settings = params.train
    train, validation, test = (read_questions(split) for split in ("train", "validation", "test"))
    validation = validation[: settings.validation_questions]
    images = read_image_bytes(row["image_id"] for row in [*train, *validation, *test])
    base, processor = load_base(params.model), load_processor(params.model)
    features = ImageFeatures(feature_folder(), images, base, processor)
    collator = ImageCollator(processor, images, features, base.config.get_text_config().max_position_embeddings)
    shown = params.arms[arm].options_last >= 0.5
    size = settings.batch_size
    asked = [asked_row(row, shown) for row in validation]
    batches: list[Any] = [
        collator(part) | {"questions": len(part)}
        for part in (asked[start : start + size] for start in range(0, len(asked), size))
    ]
    order = training_questions(
        train, params.arms[arm], settings.epochs, derive_seed(params.seed, "order", seed), packing == "image"
    )
    torch.manual_seed(derive_seed(params.seed, "adapter", seed))
    with tempfile.TemporaryDirectory() as scratch:
        result = train_arm(base, collator, order, batches, settings, derive_seed(params.seed, seed), Path(scratch))
    scorer = Scorer(result.model.eval(), collator, params.evaluate.max_new_tokens, params.evaluate.tokens_per_pass)
    prompts = [(row["image_id"], Prompt(asked_row(row, shown)["text"], tuple(row["options"]))) for row in test]
    answers = [scorer.ask(image, [prompt])[0] for image, prompt in prompts]
    return [exact_match(answer.text, row["answer"]) for answer, row in zip(answers, test, strict=True)]


def report(runs: pd.DataFrame, images: list[str], params: Params) -> None:
    """Print the accuracies of all runs, and the differences with their intervals."""
    runs["accuracy"] = runs["correct"].map(np.mean)
    confidence = params.compare.confidence
    print("| arm | seed | image | question | difference |")
    print("|---|--:|--:|--:|--:|")
    for arm, of_arm in runs.groupby("arm", sort=False):
        table = of_arm.pivot(index="seed", columns="packing", values="accuracy")
        differences = (table["image"] - table["question"]).to_numpy()
        for seed, row in table.iterrows():
            cells = (f"{row['image']:.2%}", f"{row['question']:.2%}", f"{row['image'] - row['question']:+.2%}")
            print(f"| {arm} | {seed} | {' | '.join(cells)} |")
        mean = differences.mean()
        half = t.ppf((1 + confidence) / 2, len(differences) - 1) * differences.std(ddof=1) / len(differences) ** 0.5
        by_packing = {name: np.mean(rows["correct"].tolist(), axis=0) for name, rows in of_arm.groupby("packing")}
        gains = by_packing["image"] - by_packing["question"]
        over_images = mean_difference(gains, images, confidence)
        print(
            f"| {arm} | mean | {table['image'].mean():.2%} | {table['question'].mean():.2%} | {mean:+.2%}; over seeds "
            f"{mean - half:+.2%} to {mean + half:+.2%}; over images {over_images.low:+.2%} to {over_images.high:+.2%} |"
        )


if __name__ == "__main__":
    main()
