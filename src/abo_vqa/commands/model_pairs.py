"""Compare models by their predictions on the same questions: every pair, images and training runs as random."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from abo_vqa.commands.prediction_files import Table
from abo_vqa.commands.tolerant_match import tolerant_match
from abo_vqa.common.words import normalize
from abo_vqa.comparison.differences import rounded
from abo_vqa.comparison.training import TrainingDifference, independent_training_difference
from abo_vqa.comparison.words import BECAUSE, NOT_SHOWN
from abo_vqa.metrics.answers import exact_match
from abo_vqa.statistics.intervals import MeanDifference, cluster_interval, paired_difference

ONE_IMAGE = "one image"
_COPIED = "two runs of one model gave the same answers to all questions"
# Two good runs may agree on nearly all questions; wrong answers that agree in their very wording are a copy's.
_WRONG_IN_COPIES = 5
MATCHES = EXACT, TOLERANT = "exact", "tolerant"

Json = dict[str, Any]
Runs = Sequence[pd.DataFrame]


def compare_models(models: Mapping[str, Sequence[Table]], confidence: float) -> Json:
    """Return {confidence, questions, images, groups, models: rows, by_type, differences: rows}.

    models: the tables of each model's runs, of the same questions in one order (prediction_files.match_files). A
    difference is of a later model minus an earlier one, under each match; Holm's adjustment is over all pairs of models
    under that match. `answer` is better, worse, not shown, or "cannot be said, because ...".
    """
    tables = {name: [_scored(table) for table in runs] for name, runs in models.items()}
    one = next(iter(tables.values()))[0]
    return {
        "confidence": confidence,
        "questions": len(one),
        "images": int(one["image"].nunique()),
        "groups": int(one["image_group"].nunique()),
        "models": [{"model": name, **_accuracies(runs, confidence)} for name, runs in tables.items()],
        "by_type": _by_type(tables),
        "differences": [row for match in MATCHES for row in _family(tables, match, confidence)],
    }


def _scored(table: Table) -> pd.DataFrame:
    rows = list(table.values())
    return pd.DataFrame(
        {
            # Unique, whatever the parts of a question contain.
            "qa_id": list(map(repr, table)),
            "image": [row.image for row in rows],
            "image_group": [row.image_group for row in rows],
            "question_type": [row.question_type for row in rows],
            "prediction": [normalize(row.prediction) for row in rows],
            "written": [row.written for row in rows],
            EXACT: [exact_match(row.prediction, row.answer) for row in rows],
            TOLERANT: [tolerant_match(row.prediction, row.answer, row.options) for row in rows],
        }
    )


def _accuracies(runs: Runs, confidence: float) -> Json:
    """Return runs, empty (predictions of all runs) and, by match, accuracy, low, high and deviation over runs."""
    found: Json = {"runs": len(runs), "empty": sum(int((run["prediction"] == "").sum()) for run in runs)}
    for match in MATCHES:
        values = np.stack([run[match].to_numpy(float) for run in runs], 1)
        interval = cluster_interval(values.mean(1), runs[0]["image_group"].to_list(), confidence)
        deviation = float(values.mean(0).std(ddof=1)) if len(runs) > 1 else None
        found[match] = rounded(
            {"accuracy": interval.estimate, "low": interval.low, "high": interval.high, "deviation": deviation}
        )
    return found


def _by_type(tables: Mapping[str, Runs]) -> Json:
    """Return {question type: {"n": questions, "accuracy": {model: by exact match}}}."""
    kinds = next(iter(tables.values()))[0]["question_type"]
    means = {name: pd.concat([run[EXACT] for run in runs], axis=1).mean(axis=1) for name, runs in tables.items()}
    return {
        str(kind): {
            "n": len(part),
            "accuracy": rounded({name: float(mean[part.index].mean()) for name, mean in means.items()}),
        }
        for kind, part in kinds.groupby(kinds)
    }


def _family(tables: Mapping[str, Runs], match: str, confidence: float) -> list[Json]:
    """Return every pair's difference under a match, with Holm-adjusted p; where nothing can be said it counts as 1."""
    from statsmodels.stats.multitest import multipletests

    pairs = [(first, second) for second, first in combinations(tables, 2)]
    found = [_difference(tables[first], tables[second], match, confidence) for first, second in pairs]
    adjusted = multipletests([1.0 if unsaid else each.p for each, unsaid in found], method="holm")[1]
    return [
        {
            "first": first,
            "second": second,
            "match": match,
            "runs": [len(tables[first]), len(tables[second])],
            **rounded({**vars(difference), "holm_p": float(holm_p), "unsaid": unsaid}),
            "answer": _answer(difference.estimate, holm_p < 1 - confidence, unsaid),
        }
        for (first, second), (difference, unsaid), holm_p in zip(pairs, found, adjusted, strict=True)
    ]


def _difference(first: Runs, second: Runs, match: str, confidence: float) -> tuple[MeanDifference, str]:
    """Return the difference, and why nothing can be said of it; "" if something can."""
    ones, others = ([run.assign(correct=run[match]) for run in runs] for runs in (first, second))
    if len(ones) == len(others) == 1:
        one_image = ones[0]["image_group"].nunique() == 1
        return paired_difference(ones[0], others[0], confidence), ONE_IMAGE if one_image else ""
    found = independent_training_difference(ones, others, confidence)
    if not found.unsaid and _copies(first, second):
        found = TrainingDifference(
            found.n, found.estimate, -1.0, 1.0, p=1.0, detectable=1.0, replicates=found.replicates, unsaid=_COPIED
        )
    # One image says nothing of other images, whatever the seed.
    seeds = found.unsaid not in ("", ONE_IMAGE)
    return found, f"{found.unsaid}: another training seed could reverse the difference" if seeds else found.unsaid


def _copies(*models: Runs) -> bool:
    """Return whether two runs of a model are copies, which tell nothing of another training."""
    return any(
        one["written"].equals(other["written"]) and (~one[EXACT]).sum() >= _WRONG_IN_COPIES
        for runs in models
        for one, other in combinations(runs, 2)
    )


def _answer(estimate: float, shown: bool, unsaid: str) -> str:
    if unsaid:
        return BECAUSE + unsaid
    if not shown:
        return NOT_SHOWN
    return "better" if estimate > 0 else "worse"
