"""Compare the models: accuracies under every condition, and the planned differences between them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from abo_vqa.common.draws import derive_seed
from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import RANKED
from abo_vqa.common.params.measure import CompareParams, ConditionParams
from abo_vqa.common.params.model import ArmParams
from abo_vqa.common.schema import MATCHED, OPEN, OPTIONS, TEST
from abo_vqa.comparison.text_only import against_text_only
from abo_vqa.comparison.verdict import verdict
from abo_vqa.statistics.intervals import MeanDifference, align, cluster_interval, mean_difference, paired_difference

Json = dict[str, Any]
Summary = Mapping[str, Mapping[str, Any]]
Tables = Mapping[str, pd.DataFrame]


def compare(
    predictions: Tables,
    summaries: Mapping[str, Summary],
    conditions: Mapping[str, ConditionParams],
    arms: Mapping[str, ArmParams],
    audit: Mapping[str, Any],
    settings: CompareParams,
    seed: int,
) -> Json:
    """Return the content of reports/comparison.json, verdict included.

    predictions: by model, in the order of the tables, each as metrics.answers.score_answers returns them; summaries: by
    model, as metrics.answers.summarize returns them. conditions: the experiment's; those without predictions are left
    out. audit: as audit.audit.audit returns it for the same questions. Raises InputError if two models answered
    different questions.
    """
    models = list(predictions)
    asked = _asked(predictions, conditions)
    for name in models[1:]:
        for condition in asked:
            align(_under(predictions[models[0]], condition), _under(predictions[name], condition))
    results = {
        name: _results(table, {c: summaries[name][c] for c in asked}, settings, derive_seed(seed, "compare", name))
        for name, table in predictions.items()
    }
    counterparts = {name: blank for name in asked if (blank := blank_counterpart(name, asked, conditions))}
    planned = [(p.first, p.second, c) for p in settings.planned for c in p.conditions if c in asked]
    drawn = _Drawn(predictions, settings, seed)
    compared = [(first, second, c, c) for first, second, c in planned]
    first = predictions[models[0]]
    comparison: Json = {
        "models": models,
        "conditions": asked,
        "confidence": settings.confidence,
        "resamples": settings.resamples,
        "seed": seed,
        "questions": int(first["qa_id"].nunique()),
        "images": int(first["image_id"].nunique()),
        "results": results,
        "above_blind": _above_text_only(results, conditions, audit, settings),
        "differences": drawn.family([(*names, drawn.difference(*names)) for names in compared]),
        "ranked_differences": drawn.family([(*names, drawn.difference(*names, RANKED)) for names in compared]),
        "sight": drawn.family(
            [
                (name, name, c, blank, drawn.difference(name, name, c, blank))
                for name in models
                for c, blank in counterparts.items()
            ]
        ),
        "beyond_blank": drawn.family(
            [
                (*names, blank, drawn.gain_beyond_blank(*names, blank))
                for names in planned
                if (blank := counterparts.get(names[2]))
            ]
        ),
        "audit": dict(audit),
    }
    return comparison | {"verdict": verdict(comparison, conditions, arms, settings)}


def flat_metrics(comparison: Mapping[str, Any]) -> Json:
    """Return the metrics of `dvc metrics`: {model: {"condition/accuracy": value}}, named as in MLflow.

    Accuracies only: each further metric would add a column per model and condition to `dvc exp show`.
    """
    return {
        model: {f"{condition}/accuracy": group["total"]["accuracy"] for condition, group in conditions.items()}
        for model, conditions in comparison["results"].items()
    }


def accuracies(comparison: Mapping[str, Any]) -> list[Json]:
    """Return the bars of `dvc plots`: one row per condition and model with its accuracy in percent."""
    results = comparison["results"]
    return [
        {"asked": f"{condition}: {model}", "accuracy": round(100 * results[model][condition]["total"]["accuracy"], 2)}
        for condition in comparison["conditions"]
        for model in comparison["models"]
    ]


def blank_counterpart(name: str, asked: Sequence[str], conditions: Mapping[str, ConditionParams]) -> str | None:
    """Return the condition with the same options, in the given order, and a blank image; None if there is none.

    The counterpart of rotated options may show one order: an answer right in every order is right in that one.
    """
    shown = conditions[name]
    if shown.image == "blank":
        return None
    orders = ("given", "rotated") if shown.order == "rotated" else (shown.order,)
    for order in orders:
        wanted = shown.model_copy(update={"image": "blank", "order": order})
        for other in asked:
            if conditions[other] == wanted:
                return other
    return None


def audited_as(shown: ConditionParams) -> str | None:
    """Return the audit's condition with the same text; None if there is none.

    For rotated and shuffled options it is `options`, where a text-only baseline must be right in one order only, which
    is no harder.
    """
    if shown.options == "none":
        return OPEN
    if shown.options == "matched":
        return MATCHED
    return OPTIONS if shown.options == "given" and shown.count is None else None


def _asked(predictions: Tables, conditions: Mapping[str, ConditionParams]) -> list[str]:
    name, *others = predictions
    for other in others:
        if set(predictions[other]["condition"]) != set(predictions[name]["condition"]):
            raise InputError(
                f"{name} and {other} were asked under different conditions; run `dvc repro` so that every model is "
                "asked under all of evaluate.conditions"
            )
    there = set(predictions[name]["condition"])
    return [condition for condition in conditions if condition in there]


def _under(table: pd.DataFrame, condition: str) -> pd.DataFrame:
    return table[table["condition"] == condition]


def _results(table: pd.DataFrame, summary: Summary, settings: CompareParams, seed: int) -> Json:
    def with_interval(row: Mapping[str, float], part: pd.DataFrame) -> Json:
        images = part["image_id"].to_list()
        found = cluster_interval(part["correct"], images, settings.confidence, settings.resamples, seed)
        return rounded({**row, "low": found.low, "high": found.high})

    results = {}
    for condition, group in summary.items():
        asked = _under(table, condition)
        results[condition] = {
            "total": with_interval(group["total"], asked),
            "by_type": {
                kind: with_interval(row, asked[asked["question_type"] == kind])
                for kind, row in group["by_type"].items()
            },
            "by_position": {
                place: with_interval(
                    {**row, "picked": float((asked["picked"] == int(place)).mean())},
                    asked[asked["answer_index"] == int(place)],
                )
                for place, row in group["by_position"].items()
            },
        }
    return results


def _above_text_only(
    results: Mapping[str, Json],
    conditions: Mapping[str, ConditionParams],
    audit: Mapping[str, Any],
    settings: CompareParams,
) -> Json:
    def row(condition: str, total: Mapping[str, float]) -> Json | None:
        known = audited_as(conditions[condition])
        if known is None or known not in audit[TEST]:
            return None
        return {"audited_as": known, **against_text_only(dict(total), audit, known, settings.max_blind.get(known))}

    found = {name: {c: row(c, group["total"]) for c, group in groups.items()} for name, groups in results.items()}
    return {name: {c: value for c, value in rows.items() if value} for name, rows in found.items()}


class _Drawn:
    """Differences between models, each resampled with a separate seed, and families of them."""

    def __init__(self, predictions: Tables, settings: CompareParams, seed: int) -> None:
        self._predictions, self._seed = predictions, seed
        self._confidence, self._resamples = settings.confidence, settings.resamples

    def difference(
        self, first: str, second: str, condition: str, against: str, column: str = "correct"
    ) -> MeanDifference:
        """Return the first model under the condition minus the second under `against`; column: correct or a ranking."""
        one, other = (
            table.assign(correct=table[column])
            for table in (_under(self._predictions[first], condition), _under(self._predictions[second], against))
        )
        return paired_difference(one, other, *self._settings(first, second, condition, against, column))

    def gain_beyond_blank(self, first: str, second: str, condition: str, blank: str) -> MeanDifference:
        """Return how much larger the first's lead over the second is under the condition than under `blank`."""
        leads = [
            align(_under(self._predictions[first], name), _under(self._predictions[second], name)).set_index("qa_id")
            for name in (condition, blank)
        ]
        shown, blanked = (lead["correct"].astype(float) - lead["correct_second"] for lead in leads)
        images = leads[0]["image_id"].to_list()
        values = shown - blanked.reindex(shown.index)
        return mean_difference(values, images, *self._settings(first, second, condition, blank, "beyond"), bound=2.0)

    def family(self, found: Sequence[tuple[str, str, str, str, MeanDifference]]) -> list[Json]:
        """Return the differences (first, second, the condition of each) as rows, with Holm-adjusted p."""
        from statsmodels.stats.multitest import multipletests

        if not found:
            return []
        adjusted = multipletests([difference.robust_p for *_, difference in found], method="holm")[1]
        rows = []
        for (first, second, condition, against, difference), holm_p in zip(found, adjusted, strict=True):
            # The interval is not adjusted for multiple comparisons, and p is not bootstrapped: require both.
            shown = holm_p < 1 - self._confidence and not difference.low <= 0 <= difference.high
            rows.append(
                {
                    "first": first,
                    "second": second,
                    "condition": condition,
                    "against": against,
                    **rounded({**vars(difference), "holm_p": float(holm_p)}),
                    "significant": ("better" if difference.estimate > 0 else "worse") if shown else "",
                }
            )
        return rows

    def _settings(self, *names: str) -> tuple[float, int, int]:
        return self._confidence, self._resamples, derive_seed(self._seed, "compare", *names)


def rounded(row: Mapping[str, Any]) -> Json:
    """Return the row with six significant digits: more than the data carry, and equal on every machine."""
    return {name: value if isinstance(value, int) else float(f"{value:.6g}") for name, value in row.items()}
