"""Spread of the arms' accuracies over training seeds, and what an adapter gains from the image, by question type.

    PYTHONPATH=src OMP_NUM_THREADS=1 python benchmarks/seed_spread.py --seeds 8 [--keep runs.jsonl]

Wants the splits of `dvc repro audit`. Base and arms answer every test question under `open` and `options`, with its own
image and with another product's, whose right answer differs. A training seed draws order, first adapter and dropout;
sample, splits and test questions stay. Every run keeps its weights after each step, so that one training measures all
averages over the last steps (`--average`).

Prints, for each average, the arms' mean accuracy and deviation over the seeds and that of options - standard; then, by
type and seed, the headroom under `options`: (arm - base with the image) - (arm - base with another product's image).
"""

import argparse
import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import TrainerCallback

from abo_vqa.common.draws import derive_rng, derive_seed
from abo_vqa.common.layout import feature_folder, read_image_bytes, read_questions
from abo_vqa.common.params import Params, read_params
from abo_vqa.model.base.loading import load_base, load_processor
from abo_vqa.model.features import ImageFeatures
from abo_vqa.model.shared_image import ImageCollator
from abo_vqa.training.plan import asked_row, training_questions
from abo_vqa.training.trainer import greedy_hits, train_arm

Row = Mapping[str, Any]
Table = list[dict[str, Any]]
OPPOSITES = ({"height", "width"}, {"more", "fewer"})
PROMPTS_TOGETHER = 160


class KeepWeights(TrainerCallback):
    """Copies the trainable weights after each step."""

    def __init__(self) -> None:
        self.steps: list[list[torch.Tensor]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self.steps.append([weight.detach().clone() for weight in trainable(model)])


def trainable(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [weight for weight in model.parameters() if weight.requires_grad]


def other_images(rows: Sequence[Row], seed: int) -> dict[str, str]:
    """Return for each question an image of another product, drawn from those for which the right answer differs.

    A size comparison gets one of the other orientation, a comparison of numbers one whose own has the other answer.
    """
    colors = {row["image_id"]: row["answer"] for row in rows if row["question_type"] == "color"}
    others = {}
    for row in rows:
        if row["question_type"] == "yes/no":
            value = row["question"].rstrip("?").split()[-1]
            fits = {image for image, color in colors.items() if (color == value) == (row["answer"] == "no")}
        else:
            fits = {other["image_id"] for other in rows if contradicts(other, row)}
        others[row["qa_id"]] = derive_rng(seed, "other", row["qa_id"]).choice(sorted(fits - {row["image_id"]}))
    return others


def contradicts(one: Row, other: Row) -> bool:
    """Return whether two questions are of one type and differ in their answers to the same comparison or attribute."""
    answers = {one["answer"], other["answer"]}
    same = one["question_type"] == other["question_type"] and len(answers) == 2
    return same and (one["question_type"] != "comparison" or answers in OPPOSITES)


class Examination:
    """The test questions under `open` and `options`, with their own and another image."""

    def __init__(self, rows: Sequence[Row], collator: ImageCollator, seed: int) -> None:
        others, self._ends = other_images(rows, seed), collator.processor.ends
        self._parts: list[tuple[list[dict[str, Any]], Any]] = []
        asked = [
            (asked_row(row, condition == "options") | {"image": image}, label(row, condition, shown))
            for row in rows
            for condition in ("open", "options")
            for shown, image in (("own", row["image_id"]), ("other", others[row["qa_id"]]))
        ]
        asked.sort(key=lambda each: each[0]["image"])
        for start in range(0, len(asked), PROMPTS_TOGETHER):
            part = asked[start : start + PROMPTS_TOGETHER]
            self._parts.append(([label for _, label in part], collator([question for question, _ in part])))

    def __call__(self, model: Any) -> Table:
        model.eval()
        table: Table = []
        for labels, batch in self._parts:
            hits = greedy_hits(model, batch, self._ends)
            table += [about | {"right": hit} for about, hit in zip(labels, hits, strict=True)]
        return table


def label(row: Row, condition: str, shown: str) -> dict[str, Any]:
    return {"qa_id": row["qa_id"], "type": row["question_type"], "condition": condition, "image": shown}


def by_type(table: Iterable[Row]) -> Table:
    """Return the accuracy by condition, image and type, with `all` types."""
    frame = pd.DataFrame(table)
    frame = pd.concat([frame, frame.assign(type="all")])
    means = frame.groupby(["condition", "image", "type"], sort=False)["right"].mean().reset_index()
    return means.to_dict("records")  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--base", help="another base than model.base")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="other values of train.NAME")
    parser.add_argument("--average", nargs="*", type=float, default=[0.0, 0.25, 0.5, 0.75])
    parser.add_argument("--keep", type=Path, help="file of finished runs (JSON lines), which are not trained again")
    args = parser.parse_args()
    params = read_params()
    if args.base:
        params = params.model_copy(update={"model": params.model.model_copy(update={"base": args.base})})
    changes = {name: json.loads(value) for name, value in (change.split("=") for change in args.set)}
    params = params.model_copy(update={"train": params.train.model_copy(update=changes)})
    runs = [json.loads(line) for line in args.keep.read_text().splitlines()] if args.keep and args.keep.exists() else []

    def record(arm: str, seed: int, tables: Iterable[tuple[float, Table]]) -> None:
        # All averages of a run at once: an interrupted run is trained again.
        found = [
            {"arm": arm, "seed": seed, "average": average} | row for average, table in tables for row in by_type(table)
        ]
        runs.extend(found)
        if args.keep:
            with args.keep.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in found)

    splits = {split: read_questions(split) for split in ("train", "test")}
    images = read_image_bytes(row["image_id"] for rows in splits.values() for row in rows)
    base, processor = load_base(params.model), load_processor(params.model)
    features = ImageFeatures(feature_folder(), images, base, processor)
    collator = ImageCollator(processor, images, features, base.config.get_text_config().max_position_embeddings)
    examine = Examination(splits["test"], collator, params.seed)
    if not any(run["arm"] == "base" for run in runs):
        record("base", 0, [(0.0, examine(base))])
        report_base(pd.DataFrame(runs))
    rows = splits["train"][: params.train.max_questions]
    for seed in range(args.first, args.first + args.seeds):
        for arm in params.arms:
            if not any(run["arm"] == arm and run["seed"] == seed for run in runs):
                record(arm, seed, train_and_ask(params, arm, seed, rows, collator, examine, args.average))
    if any(run["arm"] != "base" for run in runs):
        report(pd.DataFrame(runs))


def train_and_ask(
    params: Params,
    arm: str,
    seed: int,
    rows: Sequence[Row],
    collator: ImageCollator,
    examine: Examination,
    averages: Sequence[float],
) -> Iterable[tuple[float, Table]]:
    """Train one arm; yield each average over its last steps with its answers."""
    settings, drawn = params.train, derive_seed(params.seed, "replicate", seed)
    dataset = training_questions(rows, params.arm(arm), settings.epochs, drawn, settings.packing == "image")
    torch.manual_seed(drawn)
    weights = KeepWeights()
    with tempfile.TemporaryDirectory() as scratch:
        trained = train_arm(
            load_base(params.model), collator, dataset, [], settings, drawn, Path(scratch), callbacks=[weights]
        )
    for average in averages:
        last = weights.steps[-max(1, round(average * len(weights.steps))) :]
        for weight, values in zip(trainable(trained.model), zip(*last, strict=True), strict=True):
            weight.data = torch.stack(values).mean(0)
        yield average, examine(trained.model)


def report_base(runs: pd.DataFrame) -> None:
    base = runs[runs["arm"] == "base"]
    print((100 * base.pivot_table(index="type", columns=["condition", "image"], values="right")).round(1).to_string())


def report(runs: pd.DataFrame) -> None:
    report_base(runs)
    arms = runs[runs["arm"] != "base"]
    own = arms[(arms["image"] == "own") & (arms["type"] == "all")]
    print("\n| average | condition | standard | options | options - standard |\n|--:|---|--:|--:|--:|")
    for (average, condition), part in own.groupby(["average", "condition"]):
        table = 100 * part.pivot(index="seed", columns="arm", values="right")
        table["gain"] = table["options"] - table["standard"]
        cells = (f"{table[name].mean():.1f} ± {table[name].std():.1f}" for name in ("standard", "options", "gain"))
        print(f"| {average:g} | {condition} | {' | '.join(cells)} |")
    index = ["arm", "average", "seed", "type", "condition"]
    gains = arms.pivot(index=index, columns="image", values="right")
    base = runs[runs["arm"] == "base"].pivot(index=["type", "condition"], columns="image", values="right")
    room = 100 * (gains["own"] - gains["other"]) - 100 * (base["own"] - base["other"])
    for condition in ("options", "open"):
        print(f"\nheadroom under {condition}")
        print(room.xs(condition, level="condition").unstack("type").round(1).to_string())


if __name__ == "__main__":
    main()
