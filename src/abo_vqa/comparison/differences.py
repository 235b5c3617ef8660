"""Differences between models and conditions, over the training runs of each, in families for Holm's adjustment."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from abo_vqa.common.errors import InputError
from abo_vqa.common.params.model import BASE
from abo_vqa.comparison.training import FEWEST_REPLICATES, training_difference, training_interval
from abo_vqa.statistics.clusters import Array
from abo_vqa.statistics.intervals import MeanDifference, align, cluster_interval, mean_difference

Json = dict[str, Any]
IMAGES, IMAGES_AND_SEEDS = "images", "images and training seeds"
COPIED = "two training runs of one model gave the same answers to all questions"
# Column of Answers: right, where an answer that is no option counts by the option that the model ranks first.
READ_LENIENTLY = "read_leniently"


@dataclass(frozen=True)
class Pair:
    """Two models, or one of them under two conditions; `against` is the second's condition."""

    first: str
    second: str
    condition: str
    against: str

    @property
    def compares_trainings(self) -> bool:
        """Whether it is a statement about two ways of training, not about an arm and the base or one arm alone."""
        return self.first != self.second and BASE not in (self.first, self.second)


class Answers:
    """The scored answers of every compared model, as matrices of questions by training runs."""

    def __init__(self, tables: Mapping[str, Sequence[pd.DataFrame]], confidence: float) -> None:
        """Check that all tables hold the same questions; tables: by model, one per training run, in order of seeds.

        Raises InputError if two tables differ in a condition, a question, its options, its answer or its image.
        """
        self.confidence = confidence
        self._parts: dict[tuple[str, str], list[pd.DataFrame]] = {}
        name, *_ = tables
        there = set(tables[name][0]["condition"])
        for model, runs in tables.items():
            for table in runs:
                if set(table["condition"]) != there:
                    raise InputError(
                        f"{name} and {model} were asked under different conditions; run `dvc repro` so that every "
                        "model is asked under all of evaluate.conditions"
                    )
                lenient = table["correct"] | (table["unparsable"] | (table["picked"] < 0)) & table["ranked"]
                for condition, part in table.assign(**{READ_LENIENTLY: lenient}).groupby("condition"):
                    align(tables[name][0][tables[name][0]["condition"] == condition], part)
                    rows = part.set_index("qa_id").sort_index()
                    self._check_shown(model, str(condition), rows)
                    self._parts.setdefault((model, str(condition)), []).append(rows)
        self.conditions = there
        # Why the runs of a model allow no interval, by model. The mean of two runs hides one that failed; a single run
        # speaks for itself, but not for a way of training.
        self.inconclusive = {name: why for name, runs in tables.items() if (why := _inconclusive(runs))}

    def _check_shown(self, model: str, condition: str, rows: pd.DataFrame) -> None:
        """Raise InputError if a question's image was shown to one model and another to this one."""
        known = next((parts[0] for (_, under), parts in self._parts.items() if under == condition), rows)
        if "shown_image" not in rows or "shown_image" not in known:
            return
        other = rows.index[(rows["shown_image"] != known["shown_image"]).to_numpy()]
        if len(other):
            raise InputError(
                f"question {other[0]} was asked of {model} under {condition} with another image than of other models; "
                "run `dvc repro` so that every model is shown the same"
            )

    def runs(self, model: str, condition: str) -> list[pd.DataFrame]:
        """Return the model's answers under a condition, one table per training run, indexed by qa_id."""
        return self._parts[model, condition]

    def accuracy(self, model: str, condition: str, chosen: pd.Series | None = None) -> Json:
        """Return the mean accuracy over the runs with its interval and, of several runs, their deviation.

        chosen: whether to include each question, by qa_id; None for all.
        """
        runs = [table if chosen is None else table[chosen] for table in self.runs(model, condition)]
        matrix = np.stack([table["correct"].to_numpy(float) for table in runs], 1)
        groups = runs[0]["image_group"].to_list()
        if len(runs) < FEWEST_REPLICATES:
            found = cluster_interval(matrix.mean(1), groups, self.confidence)
        else:
            found = training_interval(matrix, groups, self.confidence)
        return {
            "low": found.low,
            "high": found.high,
            "deviation": float(matrix.mean(0).std(ddof=1)) if len(runs) > 1 else None,
        }

    def values(self, pair: Pair, column: str = "correct", without: str | None = None) -> tuple[Array, list[str]]:
        """Return the differences of shape (questions, runs) and every question's image group.

        The first's run of a seed is compared with the second's of the same seed, or with the base. Questions that are
        not asked under `against` (they have no such counterpart) are left out, and those of the type `without`.
        """
        first, second = self.runs(pair.first, pair.condition), self.runs(pair.second, pair.against)
        if len(first) != len(second) and 1 not in (len(first), len(second)):
            raise InputError(f"{pair.first} has {len(first)} runs, {pair.second} {len(second)}; train the same seeds")
        number = max(len(first), len(second))
        chosen = first[0].index.intersection(second[0].index)
        if pair.condition != pair.against:  # the same options and answers, or the counterpart is none
            align(first[0].loc[chosen].reset_index(), second[0].loc[chosen].reset_index())
        if without is not None:
            chosen = chosen[(first[0].loc[chosen, "question_type"] != without).to_numpy()]
        columns = [
            one.loc[chosen, column].to_numpy(float) - other.loc[chosen, column].to_numpy(float)
            for one, other in zip(first * (number // len(first)), second * (number // len(second)), strict=True)
        ]
        return np.stack(columns, 1), first[0].loc[chosen, "image_group"].to_list()

    def gains_beyond(self, pair: Pair) -> tuple[Array, list[str]]:
        """Return how much larger the first's lead is under the condition than under `against`; shapes as of values."""
        shown, groups = self.values(Pair(pair.first, pair.second, pair.condition, pair.condition))
        without, _ = self.values(Pair(pair.first, pair.second, pair.against, pair.against))
        index = self.runs(pair.first, pair.condition)[0].index
        there = index.isin(self.runs(pair.first, pair.against)[0].index)
        return shown[there] - without, [group for group, kept in zip(groups, there, strict=True) if kept]

    def difference(self, pair: Pair, values: Array, groups: Sequence[str], bound: float = 1.0) -> Json:
        """Return a row of a family, without Holm's adjustment.

        over: what the interval and p generalize to. unsaid: why the difference is inconclusive, empty otherwise.
        """
        replicates = values.shape[1]
        found: MeanDifference
        if replicates < FEWEST_REPLICATES:
            found, over = mean_difference(values.mean(1), groups, self.confidence, bound), IMAGES
        else:
            found, over = training_difference(values, groups, self.confidence, bound), IMAGES_AND_SEEDS
        unsaid = self.inconclusive.get(pair.first) or self.inconclusive.get(pair.second) or ""
        if pair.compares_trainings and replicates < FEWEST_REPLICATES:
            unsaid = training_difference(values, groups, self.confidence, bound).unsaid
        figures = {"replicates": replicates, "unsaid": "", **asdict(found)}
        return {**asdict(pair), **figures, "over": over, "unsaid": unsaid or figures["unsaid"]}

    def family(self, rows: Sequence[Json]) -> list[Json]:
        """Return the rows with Holm-adjusted p and `significant`: better, worse or empty.

        Of a row with `unsaid`, the figures describe these adapters; its p is set to 1 in Holm's adjustment.
        """
        from statsmodels.stats.multitest import multipletests

        if not rows:
            return []
        adjusted = multipletests([1.0 if row["unsaid"] else row["p"] for row in rows], method="holm")[1]
        return [
            rounded({**row, "holm_p": float(holm_p)})
            | {"significant": self._significant(row["estimate"], float(holm_p))}
            for row, holm_p in zip(rows, adjusted, strict=True)
        ]

    def _significant(self, estimate: float, p: float) -> str:
        if p >= 1 - self.confidence:
            return ""
        return "better" if estimate > 0 else "worse"


def _inconclusive(runs: Sequence[pd.DataFrame]) -> str:
    """Return why a model's training runs allow no interval: there are two, or one is a copy; empty otherwise."""
    if 1 < len(runs) < FEWEST_REPLICATES:
        return f"{len(runs)} training runs, fewer than {FEWEST_REPLICATES}"
    # Probabilities too: good runs may agree in every answer.
    ordered = [run.sort_values(["condition", "qa_id"]) for run in runs]
    said = {tuple(map(str, (*run["prediction"], *run["probabilities"]))) for run in ordered}
    return COPIED if len(said) < len(runs) else ""


def rounded(row: Mapping[str, Any]) -> Json:
    """Return the row with six significant digits: more than the data carry, and equal on every machine."""
    return {name: float(f"{value:.6g}") if isinstance(value, float) else value for name, value in row.items()}
