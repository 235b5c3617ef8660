"""The comparison: every model under every condition, paired differences, and what they allow one to say."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from abo_vqa.errors import InputError
from abo_vqa.measure.audit import PREDICTORS, against_blind
from abo_vqa.measure.intervals import Difference, align, cluster_interval, paired_difference
from abo_vqa.measure.metrics import check_micro_average, summarise
from abo_vqa.params import ArmParams
from abo_vqa.seeds import derive_seed

BASE = "base"


def planned_pairs(models: Sequence[str], arms: Mapping[str, ArmParams]) -> list[tuple[str, str]]:
    """Return the comparisons (first minus second) that are made, in the models' order.

    Each arm against base; each arm that ever shows the options in training against each that never does.
    """
    tested = [name for name in models if name in arms]
    blind = [name for name in tested if arms[name].options_first == arms[name].options_last == 0]
    pairs = [(name, BASE) for name in tested if BASE in models]
    return pairs + [(name, other) for name in tested if name not in blind for other in blind]


def compare(
    predictions: Mapping[str, pd.DataFrame],
    pairs: Iterable[tuple[str, str]],
    audit: Mapping[str, Any],
    confidence: float,
    resamples: int,
    seed: int,
    max_blind: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Return everything that reports/comparison.json holds.

    predictions: by model, in the order of the tables, each as measure.metrics.score_answers gives them for every
    condition. audit: what measure.audit.audit returned for the same questions. max_blind: by condition, the score of
    the best blind predictor above which no gain is called one. Raises InputError if two models answered different
    questions, or the rows by type do not average to their total.
    """
    models = list(predictions)
    conditions = _conditions(predictions)
    for name in models[1:]:
        for condition in conditions:
            align(_under(predictions[models[0]], condition), _under(predictions[name], condition))
    settings = confidence, resamples
    limits = max_blind or {}
    results = {
        name: _results(table, *settings, derive_seed(seed, "compare", name)) for name, table in predictions.items()
    }
    above = {
        name: {
            condition: against_blind(results[name][condition]["total"], audit, condition, limits.get(condition))
            for condition in conditions
            if condition in audit["test"]
        }
        for name in models
    }
    found = []
    for first, second in pairs:
        for condition in conditions:
            one, other = (_under(predictions[name], condition) for name in (first, second))
            drawn = derive_seed(seed, "compare", first, second, condition)
            found.append((first, second, condition, paired_difference(one, other, *settings, drawn)))
    return {
        "models": models,
        "conditions": conditions,
        "confidence": confidence,
        "resamples": resamples,
        "seed": seed,
        "questions": int(predictions[models[0]]["qa_id"].nunique()),
        "images": int(predictions[models[0]]["image_id"].nunique()),
        "results": results,
        "above_blind": above,
        "differences": _differences(found, confidence, above),
        "audit": dict(audit),
    }


def flat_metrics(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `dvc metrics` shows: {model: {condition: {accuracy, macro_f1, bertscore_f1, unparsable}}}."""
    names = ("accuracy", "macro_f1", "bertscore_f1", "unparsable")
    return {
        model: {condition: {name: group["total"][name] for name in names} for condition, group in conditions.items()}
        for model, conditions in comparison["results"].items()
    }


def _conditions(predictions: Mapping[str, pd.DataFrame]) -> list[str]:
    name, *others = predictions
    conditions = [str(condition) for condition in predictions[name]["condition"].unique()]
    for other in others:
        if set(predictions[other]["condition"]) != set(conditions):
            raise InputError(
                f"{name} and {other} were asked under different conditions; run `dvc repro` so that every model is "
                "asked under all of evaluate.conditions"
            )
    return conditions


def _under(table: pd.DataFrame, condition: str) -> pd.DataFrame:
    return table[table["condition"] == condition]


def _results(table: pd.DataFrame, confidence: float, resamples: int, seed: int) -> dict[str, Any]:
    summary = summarise(table)
    check_micro_average(summary)

    def with_interval(row: dict[str, float], part: pd.DataFrame) -> dict[str, float]:
        images = part["image_id"].to_list()
        found = cluster_interval(part["correct"], images, confidence, resamples, seed)
        return _rounded(row | {"low": found.low, "high": found.high})

    results = {}
    for condition, group in summary.items():
        asked = _under(table, condition)
        results[condition] = {
            "total": with_interval(group["total"], asked),
            "by_type": {
                kind: with_interval(row, asked[asked["question_type"] == kind])
                for kind, row in group["by_type"].items()
            },
        }
    return results


def _differences(
    found: Sequence[tuple[str, str, str, Difference]], confidence: float, above: Mapping[str, Any]
) -> list[dict[str, Any]]:
    from statsmodels.stats.multitest import multipletests

    if not found:
        return []
    adjusted = multipletests([difference.mcnemar_p for *_, difference in found], method="holm")[1]
    rows = []
    for (first, second, condition, difference), holm_p in zip(found, adjusted, strict=True):
        verdict = _verdict(difference, float(holm_p), confidence)
        blind = above[first].get(condition)
        if verdict == "significantly better" and blind:
            if blind["refused"]:
                verdict = blind["refused"]
            elif not blind["above"]:
                verdict += ", but not shown to be above the best blind predictor"
        statement = (
            f"{_label(first)} − {_label(second)} under {condition}: {100 * difference.estimate:+.1f} points "
            f"({percent(confidence)} interval {_span(vars(difference))}): {verdict}"
        )
        row = {"first": first, "second": second, "condition": condition, "statement": statement}
        rows.append(row | _rounded(vars(difference) | {"holm_p": float(holm_p)}) | {"verdict": verdict})
    return rows


def _verdict(difference: Difference, holm_p: float, confidence: float) -> str:
    # Both must hold: the interval knows that questions share images, the adjusted p that many were asked.
    if holm_p >= 1 - confidence or difference.low <= 0 <= difference.high:
        return "no difference shown"
    return "significantly better" if difference.estimate > 0 else "significantly worse"


def percent(share: float, digits: int = 0) -> str:
    """Return a share in per cent."""
    return f"{100 * share:.{digits}f} %"


def _label(model: str) -> str:
    return model if model == BASE else f"{model} arm"


def _rounded(row: Mapping[str, float]) -> dict[str, float]:
    """Six significant digits, which is more than the data carry and the same on every machine."""
    return {name: value if isinstance(value, int) else float(f"{value:.6g}") for name, value in row.items()}


def render(comparison: Mapping[str, Any]) -> str:
    """Return the comparison as Markdown: the main table, what it shows, rows by type, differences, audit."""
    level = percent(comparison["confidence"])
    sections = [
        "# Comparison",
        f"{comparison['questions']} test questions on {comparison['images']} images. Intervals: {level}, bootstrap "
        f"over images, {comparison['resamples']} resamples, seed {comparison['seed']}.",
        main_table(comparison),
        "A prediction is unparsable if it is none of the options (`open`: if it is empty); it counts as wrong. "
        "Macro-F1 is over the gold answers; BERTScore is not rescaled.",
        "## What it shows",
        "\n".join(f"- {row['statement']}." for row in comparison["differences"]),
        "\n".join(
            f"- {_label(model)} under {condition}: {row['statement']}."
            for model, rows in comparison["above_blind"].items()
            for condition, row in rows.items()
        ),
        "Better or worse is said only where the interval excludes zero and the p value, adjusted (Holm) for all "
        f"comparisons below, is under {1 - comparison['confidence']:.2g}. Above or below a blind predictor is said "
        "only where the two intervals do not overlap; where a blind predictor scores more than compare.max_blind, "
        "nothing is called a gain.",
        "## By question type",
        _type_table(comparison),
        "Accuracy; weighted by n, the rows average to the last one.\n\n## Paired differences",
        _difference_table(comparison["differences"]),
        "Same questions, same condition. Only first, only second: questions that only that model got right; "
        "McNemar's exact test of these takes questions as independent, the interval does not.",
        "## Without the image",
        audit_table(comparison["audit"]),
        "Fitted on the train split, scored on the test split; cross-fitted: on the train split, each part by what was "
        "fitted on the others. Under `options` a predictor reads question and options, under `open` the question.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def main_table(comparison: Mapping[str, Any]) -> str:
    """Return models × conditions as a Markdown table, readable in a terminal too."""
    rows = []
    for model in comparison["models"]:
        for condition in comparison["conditions"]:
            total = comparison["results"][model][condition]["total"]
            blind = comparison["above_blind"][model].get(condition)
            rows.append(
                [
                    model,
                    condition,
                    str(total["n"]),
                    percent(total["accuracy"], 1),
                    _span(total),
                    f"{total['macro_f1']:.3f}",
                    f"{total['bertscore_f1']:.3f}",
                    percent(total["unparsable"], 1),
                    percent(blind["accuracy"], 1) if blind else "",
                ]
            )
    heads = ["model", "condition", "n", "accuracy", "interval", "macro-F1", "BERTScore F1", "unparsable", "best blind"]
    return markdown_table(heads, rows)


def audit_table(audit: Mapping[str, Any]) -> str:
    """Return what the predictors without the image score, as a Markdown table."""
    rows = []
    for condition in (name for name in PREDICTORS if name in audit["test"]):
        for name in PREDICTORS[condition]:
            total, fitted = (audit[part][condition][name]["total"] for part in ("test", "cross_fitted"))
            shares = percent(total["accuracy"], 1), _span(total), percent(fitted["accuracy"], 1)
            rows.append([condition, name, str(total["n"]), *shares])
    return markdown_table(["condition", "predictor", "n", "accuracy", "interval", "cross-fitted"], rows)


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns, the ones that start with a digit or sign to the right."""
    columns = list(zip(heads, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(cell[:1] in "+-−0123456789" for cell in column[1:]) for column in columns]

    def line(cells: Sequence[str]) -> str:
        shaped = zip(cells, widths, right, strict=True)
        return "| " + " | ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in shaped) + " |"

    rule = ["-" * (width - r) + ":" * r for width, r in zip(widths, right, strict=True)]
    return "\n".join([line(heads), line(rule), *map(line, rows)])


def _type_table(comparison: Mapping[str, Any]) -> str:
    results, models, conditions = (comparison[name] for name in ("results", "models", "conditions"))
    cells = [(model, condition) for model in models for condition in conditions]
    groups = [results[model][condition] for model, condition in cells]
    first = groups[0]["by_type"]
    rows = [
        [kind, str(first[kind]["n"]), *(percent(group["by_type"][kind]["accuracy"], 1) for group in groups)]
        for kind in sorted(first, key=lambda kind: (-first[kind]["n"], kind))
    ]
    last = ["all", str(groups[0]["total"]["n"]), *(percent(group["total"]["accuracy"], 1) for group in groups)]
    return markdown_table(["type", "n", *map(" ".join, cells)], [*rows, last])


def _difference_table(differences: Sequence[Mapping[str, Any]]) -> str:
    heads = ["first", "second", "condition", "n", "points", "interval", "only first", "only second"]
    rows = []
    for row in differences:
        names = [str(row[name]) for name in ("first", "second", "condition", "n")]
        points = [f"{100 * row['estimate']:+.1f}", _span(row, "+")]
        tests = [str(row["only_first"]), str(row["only_second"]), *(f"{row[p]:.2g}" for p in ("mcnemar_p", "holm_p"))]
        rows.append([*names, *points, *tests, row["verdict"]])
    return markdown_table([*heads, "McNemar p", "Holm p", "verdict"], rows) if rows else ""


def _span(row: Mapping[str, float], sign: str = "") -> str:
    return f"{100 * row['low']:{sign}.1f} to {100 * row['high']:{sign}.1f}"
