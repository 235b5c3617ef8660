"""The audit as Markdown: every text-only baseline, on every split and by question type."""

from collections.abc import Mapping
from typing import Any

from abo_vqa.audit.audit import PREDICTORS
from abo_vqa.common.schema import CROSS_FITTED, TEST, best_baseline
from abo_vqa.statistics.display import markdown_table, percent


def render_audit(report: Mapping[str, Any], confidence: float) -> str:
    """Return the audit as Markdown."""
    sections = [
        "# Scores of text-only baselines",
        "Fitted on the train split and scored on the others; on the train split cross-fitted, each part of the images "
        "scored by a fit on the rest. Under `options` a baseline reads the question and its options, under `matched` "
        "options drawn so that the text does not give the answer away, under `open` the question. The options "
        f"classifier reads the options only. In brackets the {percent(confidence)} interval: Wilson's, with Student's "
        "t over groups of look-alike images.",
        split_table(report),
    ]
    if lacking := [condition for condition in PREDICTORS if condition not in report[TEST]]:
        sections.append(f"No question of the train or the test split is kept under `{'`, `'.join(lacking)}`.")
    sections += ["## By question type", "On the test split.", *map(_type_table, report[TEST], report[TEST].values())]
    return "\n\n".join(sections) + "\n"


def best_line(report: Mapping[str, Any]) -> str:
    """Return the best baseline of every condition and its accuracy on the test split, in one line."""
    best = {condition: best_baseline(report, condition) for condition in report[TEST]}
    shown = {
        condition: percent(report[TEST][condition][name]["total"]["accuracy"], 1) for condition, name in best.items()
    }
    return ", ".join(f"{condition} {accuracy} ({best[condition]})" for condition, accuracy in shown.items())


def split_table(report: Mapping[str, Any]) -> str:
    """Return the accuracy of every baseline on every split, as a Markdown table."""
    parts = [TEST, *(part for part in report if part not in (TEST, CROSS_FITTED)), CROSS_FITTED]
    rows = []
    for condition, predictors in report[TEST].items():
        for name in predictors:
            totals = [report[part].get(condition, {}).get(name, {}).get("total") for part in parts]
            rows.append([condition, name, *(_cell(total) for total in totals)])
        counts = [report[part].get(condition, {}).get(next(iter(predictors)), {}).get("total") for part in parts]
        rows.append([condition, "questions", *(str(total["n"]) if total else "0" for total in counts)])
    return markdown_table(["condition", "predictor", *(part.replace("_", "-") for part in parts)], rows)


def _type_table(condition: str, predictors: Mapping[str, Any]) -> str:
    by_type = {name: group["by_type"] for name, group in predictors.items()}
    first = next(iter(by_type.values()))
    kinds = sorted(first)
    rows = [[name, *(percent(found[kind]["accuracy"], 1) for kind in kinds)] for name, found in by_type.items()]
    rows.append(["questions", *(str(first[kind]["n"]) for kind in kinds)])
    return markdown_table([f"`{condition}`", *kinds], rows)


def _cell(total: Mapping[str, float] | None) -> str:
    if total is None:
        return ""
    if total["low"] == total["high"]:
        return percent(total["accuracy"], 1)
    return f"{percent(total['accuracy'], 1)} ({100 * total['low']:.1f} to {100 * total['high']:.1f})"
