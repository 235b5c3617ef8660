"""The result of an arm's training runs as it is registered: one run, chosen on validation, its tags and description."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import TRAINING, adapter_folder, split_table
from abo_vqa.common.params import Params
from abo_vqa.common.params.model import BASE
from abo_vqa.common.project import head
from abo_vqa.common.storage import require
from abo_vqa.common.tracking.run import DVC_TAGS, STAGE_TAG
from abo_vqa.serving.champion import Part, best_of, parts_on
from abo_vqa.statistics.display import markdown_table, percent

# Tags of a version, besides `CONDITION/accuracy`, `/verdict` and `/reasons` (codes), and `/asked` (its definition).
# `results` is a digest of the result; `tried_on_test_data` counts the versions of one test set up to this one.
ARM, REPLICATE, ADAPTER, TEST_DATA = "arm", "replicate", "adapter", "test_data"
RESULTS, COMMIT, TRIED, VALIDATION = "results", "git_commit", "tried_on_test_data", "validation/accuracy"

Comparison = Mapping[str, Any]


@dataclass(frozen=True)
class Result:
    """An arm's registered training run. validation: accuracy, None without validation; parts: the verdict's."""

    arm: str
    replicate: str
    validation: float | None
    parts: Mapping[str, Part]
    tags: Mapping[str, str]
    description: str


def results_of(comparison: Comparison, params: Params) -> list[Result]:
    """Return the result of every compared arm; InputError if a file of it is missing."""
    return [_result(arm, comparison, params) for arm in comparison["models"] if arm != BASE]


def tested_on(tags: Mapping[str, str], condition: str) -> str:
    """Return what identifies the test of a version under a condition; empty if its tags do not say it."""
    known = (tags.get(TEST_DATA), tags.get(f"{condition}/asked"))
    return " ".join(part for part in known if part) if all(known) else ""


def adapter_digest(folder: Path) -> str:
    """Return the SHA-256 of an adapter's settings and weights, without its card; InputError if it is missing."""
    digest = hashlib.sha256()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: not found; `dvc repro train` makes it, `dvc pull` fetches it")
        digest.update(name.encode() + (folder / name).read_bytes())
    return digest.hexdigest()


def _result(arm: str, comparison: Comparison, params: Params) -> Result:
    runs = comparison["runs"][arm]
    validation = {run: _validation(run) for run in runs}
    chosen, parts = best_of(runs, validation), parts_on(arm, comparison)
    accuracies = _accuracies(chosen, comparison, params)
    tags = {
        ARM: arm,
        REPLICATE: chosen,
        ADAPTER: adapter_digest(adapter_folder(chosen)),
        TEST_DATA: hashlib.sha256(require(split_table("test"), "split").read_bytes()).hexdigest(),
        **{f"{name}/accuracy": f"{accuracy:.6f}" for name, accuracy in accuracies.items()},
        **{f"{name}/asked": _definition(name, params) for name in accuracies},
        **{f"{name}/verdict": part["answer"] for name, part in parts.items()},
        **{
            f"{name}/reasons": ", ".join(reason["code"] for reason in part["reasons"])
            for name, part in parts.items()
            if part["reasons"]
        },
    }
    if (accuracy := validation[chosen]) is not None:
        tags[VALIDATION] = f"{accuracy:.6f}"
    counts = json.dumps([tags, params.model.model_dump(mode="json")], sort_keys=True)
    tags[RESULTS] = hashlib.sha256(counts.encode()).hexdigest()
    made = {COMMIT: head(), **{tag: os.environ.get(name) for tag, name in DVC_TAGS.items() if tag != STAGE_TAG}}
    tags |= {tag: value for tag, value in made.items() if value}
    return Result(arm, chosen, accuracy, parts, tags, _describe(arm, chosen, accuracy, comparison, params))


def _accuracies(run: str, comparison: Comparison, params: Params) -> dict[str, float]:
    """Return a run's accuracies under the conditions of params.yaml, without their counterparts."""
    found = comparison["by_run"].get(run, {})
    return {name: accuracy for name, accuracy in found.items() if name in params.evaluate.conditions}


def _validation(run: str) -> float | None:
    outcome = json.loads(require(TRAINING / f"{run}.json", "train").read_text(encoding="utf-8"))
    accuracy = outcome["validation_accuracy"]
    return None if accuracy is None else float(accuracy)


def _definition(condition: str, params: Params) -> str:
    # Without the defaults: a key that conditions get later changes no definition.
    return params.evaluate.conditions[condition].model_dump_json(exclude_defaults=True)


def _describe(arm: str, chosen: str, validation: float | None, comparison: Comparison, params: Params) -> str:
    runs, parts = comparison["runs"][arm], parts_on(arm, comparison)
    why = "the first; there was no validation"
    if validation is not None:
        why = f"the best by validation accuracy, {100 * validation:.1f} %"
    base = _accuracies(BASE, comparison, params)
    rows = [
        [
            f"`{name}`",
            percent(accuracy, 1),
            percent(base[name], 1) if name in base else "",
            parts[name]["answer"] if name in parts else "",
        ]
        for name, accuracy in _accuracies(chosen, comparison, params).items()
    ]
    return (
        f"Adapter {chosen} of the {arm} arm over {params.model.base}: of {len(runs)} training runs {why}. Tested on "
        f"{comparison['questions']} questions about {comparison['images']} images.\n\n"
        + markdown_table(["condition", "right", BASE, "is the arm's difference a gain?"], rows)
    )
