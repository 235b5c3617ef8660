"""Predictions of models that were never asked: they know as much as a test wants them to."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from abo_vqa.audit.audit import PREDICTORS
from abo_vqa.common.params import read_params
from abo_vqa.common.params.measure import CompareParams, ConditionParams, PlannedParams
from abo_vqa.common.params.model import ArmParams
from abo_vqa.comparison.compare import compare
from abo_vqa.metrics.answers import BERTSCORE, RANKINGS, RESCALED, calibration, summarize

WORDS = ["red", "blue", "green", "black"]
MODELS = ["base", "standard", "options"]
ARMS = {
    "standard": ArmParams(options_first=0.0, options_last=0.0),
    "options": ArmParams(options_first=1.0, options_last=1.0),
}
SHOWN = {
    "open": ConditionParams(options="none"),
    "options": ConditionParams(),
    "circular": ConditionParams(order="rotated"),
    "matched": ConditionParams(options="matched"),
}
PLANNED = tuple(SHOWN)
WITHOUT = {  # the counterparts of the planned conditions
    f"{name}/{image}": shown.model_copy(update={"image": image})
    for name, shown in SHOWN.items()
    for image in ("blank", "other")
}
CONDITIONS = SHOWN | WITHOUT
PAIRS = [("standard", "base"), ("options", "base"), ("options", "standard")]
SEEDS = (1, 2, 3)

# What a model says to a question (its number), asked under a condition with the options in that order.
Model = Callable[[int, str, Sequence[str]], str]


def answer(number: int) -> str:
    return WORDS[number * 7 % 4]


def wrong(number: int) -> str:
    return WORDS[(number * 7 + 1) % 4]


def knowing(chance: Mapping[str, float] | float, seed: int) -> Model:
    """A model that knows a question or not, with the given chance under a condition, in whatever order.

    chance: one number holds with the image, and 0.2 without, which is also what a condition that is left out has.
    """
    draws = np.random.default_rng(seed).random(600)
    chances = dict.fromkeys(PLANNED, chance) if isinstance(chance, float) else chance

    def say(number: int, condition: str, _: Sequence[str]) -> str:
        return answer(number) if draws[number] < chances.get(condition, 0.2) else wrong(number)

    return say


def everywhere(chance: float) -> dict[str, float]:
    """The same chance with the image and without."""
    return dict.fromkeys(CONDITIONS, chance)


def without(chance: float) -> dict[str, float]:
    """The chance under all counterparts."""
    return dict.fromkeys(WITHOUT, chance)


def always_first(number: int, condition: str, options: Sequence[str]) -> str:
    return options[0] if not condition.startswith("open") else "red"


def predictions(model: Model, first: float = 0.25, count: int = 400) -> pd.DataFrame:
    """The model's predictions; five questions an image; the right option is the first in that share of questions."""
    rows = []
    for condition, shown in CONDITIONS.items():
        for number in range(count):
            if condition.startswith("matched") and number % 5 == 0:
                continue
            right = answer(number)
            place = 0 if number % 20 < 20 * first else 1 + number % 3
            options = [word for word in WORDS if word != right]
            options.insert(place, right)
            orders = [options]
            if condition.startswith("circular"):
                orders = [options[start:] + options[:start] for start in range(4)]
            said = [model(number, condition, order) for order in orders]
            correct = all(text == right for text in said)
            score = float(np.mean([text == right for text in said]))
            rows.append(
                {
                    "qa_id": f"q{number:04}",
                    "image_id": f"i{number // 5:04}",
                    "image_group": f"i{number // 5:04}",
                    "question_type": ("color", "material", "shape")[number % 3],
                    "condition": condition,
                    "answer": right,
                    "gold": right,
                    "options": options,
                    "answer_index": place,
                    "shown": shown.options != "none",
                    "generated": said,
                    "prediction": said[0] if len(set(said)) == 1 else "",
                    "picked": options.index(said[0]) if said[0] in options else -1,
                    "correct": correct,
                    "unparsable": not set(said) <= set(options),
                    "token_f1": score,
                    "probabilities": [0.7, 0.1, 0.1, 0.1],
                    **dict.fromkeys(RANKINGS, correct),
                    **dict.fromkeys((*BERTSCORE, *RESCALED), score),
                }
            )
    return pd.DataFrame(rows)


def audited(best: float) -> dict[str, Any]:
    """An audit whose text classifiers score `best`, give or take two points, and the others a tenth."""

    def row(name: str) -> dict[str, Any]:
        accuracy = best if name == "text classifier" else 1.0 if name == "ceiling" else 0.1
        return {"total": {"n": 600, "accuracy": accuracy, "low": accuracy - 0.02, "high": accuracy + 0.02}}

    rows = {condition: {name: row(name) for name in names} for condition, names in PREDICTORS.items()}
    return {"test": rows, "cross_fitted": rows}


def settings(
    pairs: Sequence[tuple[str, str]] = PAIRS, conditions: Sequence[str] = PLANNED, **limits: float
) -> CompareParams:
    planned = [PlannedParams(first=first, second=second, conditions=list(conditions)) for first, second in pairs]
    return CompareParams(confidence=0.95, planned=planned, max_blind=limits)


def three(**chances: Any) -> dict[str, pd.DataFrame]:
    """The base and one training run of each arm."""
    return {name: predictions(knowing(chances[name], seed)) for seed, name in enumerate(MODELS)}


def replicated(seed_deviation: float = 0.0, **chances: Any) -> dict[str, pd.DataFrame]:
    """The base, and three runs of each arm whose chance with the image changes from run to run."""
    luck = np.random.default_rng(0)
    tables = {"base": predictions(knowing(chances["base"], 0))}
    for arm in MODELS[1:]:
        for seed in SEEDS:
            shift, known = float(luck.normal(0, seed_deviation)), chances[arm]
            known = dict.fromkeys(PLANNED, known) if isinstance(known, float) else known
            shifted = {name: value + shift * (name in PLANNED) for name, value in known.items()}
            tables[f"{arm}-{seed}"] = predictions(knowing(shifted, MODELS.index(arm)))
    return tables


def runs_of(tables: Mapping[str, pd.DataFrame]) -> dict[str, list[str]]:
    """The tables' names by model: standard, or standard-1, standard-2 and so on."""
    models = dict.fromkeys(name.partition("-")[0] for name in tables)
    return {model: [name for name in tables if name.partition("-")[0] == model] for model in models}


def compared(tables: Mapping[str, pd.DataFrame], best: float = 0.3, **given: Any) -> dict[str, Any]:
    conditions = given.pop("shown", CONDITIONS)
    summaries = {name: summarize(table) for name, table in tables.items()}
    planned = given.pop("settings", settings())
    return compare(tables, summaries, runs_of(tables), conditions, ARMS, audited(best), planned, 0)


@cache
def options_help() -> dict[str, Any]:
    """The comparison of an options arm that knows far more than base and a standard arm that does not."""
    return compared(three(base=0.5, standard=0.5, options=0.8))


def write_project(folder: Path, root: Path, tables: Mapping[str, pd.DataFrame], store: bytes) -> None:
    """Write parameters, store, scored answers, a test split and an audit as the stages before `compare` leave them."""
    (folder / "mlflow.db").write_bytes(store)
    write_params(folder, root)
    for name in ("tables/predictions", "tables/splits", "reports/training"):
        (folder / name).mkdir(parents=True)
    asked_now = read_params(root / "params.yaml").conditions()
    tables = {name: table[table["condition"].isin(asked_now)] for name, table in tables.items()}
    for name, table in tables.items():
        outcome = {"validation_accuracy": 0.5}
        (folder / f"reports/training/{name}.json").write_text(json.dumps(outcome))
        table.to_parquet(folder / f"tables/predictions/{name}.parquet", index=False)
    asked = tables["base"][["qa_id", "image_id", "image_group", "question_type", "condition", "options", "answer"]]
    test = asked[asked["condition"] == "options"].drop(columns="condition")
    test["question"], test["image_path"] = "What color is " + test["qa_id"] + "?", "00/" + test["image_id"] + ".jpg"
    matched = asked[asked["condition"] == "matched"].rename(columns={"options": "matched_options"})
    test.merge(matched[["qa_id", "matched_options"]], how="left").to_parquet(folder / "tables/splits/test.parquet")
    (folder / "reports/audit.json").write_text(json.dumps(audited(0.3), sort_keys=True))
    write_scores(folder, tables)


def write_params(folder: Path, root: Path) -> None:
    """Write the project's parameters with the training seeds SEEDS."""
    text, changed = re.subn(r"replicates: \[.*?\]", f"replicates: {list(SEEDS)}", (root / "params.yaml").read_text())
    assert changed == 1
    (folder / "params.yaml").write_text(text)


def write_scores(folder: Path, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write reports/scores.json as the stage `score` does."""
    scores = {}
    for name, table in tables.items():
        bins = {
            str(condition): calibration(list(part["probabilities"]), list(part["ranked"])).to_dict("records")
            for condition, part in table.groupby("condition", sort=False)
        }
        scores[name] = {"summary": summarize(table), "calibration": bins}
    (folder / "reports/scores.json").write_text(json.dumps(scores, sort_keys=True))
