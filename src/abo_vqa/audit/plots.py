"""Plot the audit: the accuracy of each text-only baseline, on every split and by question type."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from abo_vqa.common.figures import COLORS, figure
from abo_vqa.common.schema import CEILING, CHANCE, CROSS_FITTED, MATCHED, OPTIONS, REFERENCES, TEST, best_baseline

_SPLIT_NAMES = {CROSS_FITTED: "train, cross-fitted"}
_ROW, _PANEL = 0.27, 0.75  # inches per baseline, and per panel for its title and axis


def plot_audit(report: Mapping[str, Any], path: Path) -> None:
    """Draw accuracies with their intervals: a panel per condition, and on the right the best baseline by type."""
    conditions = list(report[TEST])
    names = {condition: [n for n in report[TEST][condition] if n not in REFERENCES] for condition in conditions}
    kinds = {condition: _kinds(report, condition) for condition in conditions}
    rows = {condition: max(len(names[condition]), len(kinds[condition])) for condition in conditions}
    heights = [_ROW * rows[condition] + _PANEL for condition in conditions]
    with figure(path, 10, sum(heights) + 0.4) as drawn:
        panels = drawn.subplots(len(conditions), 2, squeeze=False, gridspec_kw={"height_ratios": heights}, sharex=True)
        for (left, right), condition in zip(panels, conditions, strict=True):
            parts = {_SPLIT_NAMES.get(part, part): report[part].get(condition, {}) for part in _parts(report)}
            totals = {part: [found[n]["total"] for n in names[condition]] for part, found in parts.items() if found}
            _draw(left, names[condition], totals)
            left.set_title(f"{condition}: every baseline", loc="left")
            best = best_baseline(report, condition)
            by_type = {
                part: [found[best]["by_type"].get(kind) for kind in kinds[condition]]
                for part, found in parts.items()
                if found
            }
            _draw(right, kinds[condition], by_type)
            right.set_title(f"{condition}: {best}, by question type", loc="left")
            if condition in (OPTIONS, MATCHED):
                level = report[TEST][condition][CHANCE]["total"]["accuracy"]
                for panel in (left, right):
                    panel.axvline(level, color="0.5", linewidth=0.8, linestyle="--", zorder=0)
                if (ceiling := report[TEST][condition][CEILING]["total"]["accuracy"]) < 1:
                    left.axvline(ceiling, color="0.5", linewidth=0.8, linestyle=":", zorder=0)
        for panel in panels[-1]:
            panel.set_xlabel("accuracy without the image (dashed: chance)")
            panel.set_xlim(0, 1)
        handles, labels = panels[0][0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)


def _parts(report: Mapping[str, Any]) -> list[str]:
    return [TEST, *(part for part in report if part not in (TEST, CROSS_FITTED)), CROSS_FITTED]


def _kinds(report: Mapping[str, Any], condition: str) -> list[str]:
    found = report[TEST][condition][best_baseline(report, condition)]["by_type"]
    return sorted(found)


def _draw(panel: Any, labels: Sequence[str], parts: Mapping[str, Sequence[Mapping[str, float] | None]]) -> None:
    """Draw one row per label with a dot and an interval per split, the first split on top."""
    for index, (part, rows) in enumerate(parts.items()):
        shift = (index - (len(parts) - 1) / 2) * 0.24
        there = [(place, row) for place, row in enumerate(rows) if row is not None]
        values = [row["accuracy"] for _, row in there]
        below = [row["accuracy"] - row["low"] for _, row in there]
        above = [row["high"] - row["accuracy"] for _, row in there]
        heights = [place + shift for place, _ in there]
        panel.errorbar(
            values, heights, xerr=[below, above], fmt="o", markersize=3.5, linewidth=1, color=COLORS[index], label=part
        )
    panel.set_yticks(range(len(labels)), labels)
    panel.set_ylim(len(labels) - 0.5, -0.5)
    panel.grid(axis="x", linewidth=0.4, color="0.85")
