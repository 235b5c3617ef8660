"""Figures of the comparison: planned differences, training curves, confusions and calibration."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from abo_vqa.common.figures import COLORS, figure
from abo_vqa.common.layout import ACCURACY, POST_CLIP, PRE_CLIP
from abo_vqa.report.confusion import confusable, confusion


def plot_forest(comparison: Mapping[str, Any], path: Path) -> None:
    """Draw every planned difference with its interval, filled if significant, by generation and by ranking.

    Narrow, so that it can be read on a phone.
    """
    rows = comparison["differences"]
    ranked = {(row["first"], row["second"], row["condition"]): row for row in comparison["ranked_differences"]}
    pairs = list(dict.fromkeys((row["first"], row["second"]) for row in rows))
    with figure(path, 5.2, 0.3 * len(rows) + 0.28 * len(pairs) + 1.1) as drawn:
        panel = drawn.subplots()
        plain = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        across = panel.get_yaxis_transform()  # x from 0 to 1 over the panel
        place = 0.0
        ticks: dict[float, str] = {}
        for first, second in pairs:
            panel.text(0.01, place, f"{first} − {second}", transform=across, weight="bold", va="center", bbox=plain)
            for row in (row for row in rows if (row["first"], row["second"]) == (first, second)):
                place += 1
                ticks[place] = row["condition"]
                second_way = ranked[first, second, row["condition"]]
                for found, shift, color, size in ((row, -0.12, COLORS[0], 5.0), (second_way, 0.2, COLORS[1], 3.5)):
                    low, middle, high = (100 * found[name] for name in ("low", "estimate", "high"))
                    panel.errorbar(
                        middle,
                        place + shift,
                        xerr=[[middle - low], [high - middle]],
                        fmt="o",
                        markersize=size,
                        linewidth=1.2,
                        color=color,
                        markerfacecolor=color if found["significant"] else "white",
                    )
            place += 1.4
        panel.axvline(0, color="0.3", linewidth=0.9, zorder=0)
        panel.set_yticks(list(ticks), list(ticks.values()))
        panel.tick_params(axis="y", length=0)
        panel.set_ylim(place - 0.6, -0.8)
        panel.grid(axis="x", linewidth=0.4, color="0.85")
        panel.set_xlabel("difference in points, on the same questions\n(filled: significant after Holm's adjustment)")
        for color, name in ((COLORS[0], "generated answers"), (COLORS[1], "options ranked by likelihood")):
            panel.plot([], [], "o", color=color, markersize=4, label=name)
        drawn.legend(loc="outside upper center", ncols=2, frameon=False)


def plot_curves(curves: Mapping[str, Sequence[pd.DataFrame]], clip: float, path: Path) -> None:
    """Draw loss, gradient norms before and after clipping to `clip`, and validation accuracy.

    One row of panels per arm; each with a line per training run.
    """
    with figure(path, 10, 2.1 * len(curves) + 0.5) as drawn:
        panels = drawn.subplots(len(curves), 3, squeeze=False, sharex=True, sharey="col")
        for (loss, norms, accuracy), (arm, runs) in zip(panels, curves.items(), strict=True):
            for place, curve in enumerate(runs):
                first = place == 0
                loss.plot(curve["step"], curve["loss"], color=COLORS[0], linewidth=1, alpha=0.6)
                before = "before clipping" if first else None
                norms.plot(curve["step"], curve[PRE_CLIP], color=COLORS[5], linewidth=1, alpha=0.6, label=before)
                after = "after" if first else None
                norms.plot(curve["step"], curve[POST_CLIP], color=COLORS[2], linewidth=1, alpha=0.6, label=after)
                if ACCURACY in curve:  # not where train.validation_questions is 0
                    there = curve.dropna(subset=ACCURACY)
                    accuracy.plot(there["step"], 100 * there[ACCURACY], "o-", color=COLORS[3], markersize=4, alpha=0.6)
            loss.set_title(f"{arm}: loss on the answer", loc="left")
            loss.set_ylim(bottom=0)
            norms.axhline(clip, color="0.5", linewidth=0.8, linestyle="--", zorder=0)
            norms.set_yscale("log")
            norms.set_title(f"{arm}: gradient norm", loc="left")
            accuracy.set_title(f"{arm}: validation accuracy, %", loc="left")
        for panel in panels[-1]:
            panel.set_xlabel("optimizer step")
        panels[0][1].legend(frameon=False)


def plot_calibration(bins_of: Mapping[str, Mapping[str, Any]], conditions: Sequence[str], path: Path) -> None:
    """Draw the accuracy of the most likely option by its probability, under each condition; one panel per model.

    bins_of: by model and condition, rows of confidence, accuracy and share.
    """
    with figure(path, 3.3 * len(bins_of) + 0.4, 3.4) as drawn:
        panels = drawn.subplots(1, len(bins_of), squeeze=False, sharey=True)[0]
        for panel, (model, by_condition) in zip(panels, bins_of.items(), strict=True):
            panel.plot([0, 1], [0, 1], color="0.6", linewidth=0.8, linestyle="--", zorder=0)
            for place, condition in enumerate(conditions):
                bins = pd.DataFrame(by_condition[condition])
                color = COLORS[place % len(COLORS)]
                panel.plot(bins["confidence"], bins["accuracy"], color=color, linewidth=1)
                # Small bins are noisy: the area of a dot is its share of the questions.
                panel.scatter(
                    bins["confidence"], bins["accuracy"], 120 * bins["share"] + 4, color=color, label=condition
                )
            panel.set(title=model, xlim=(0, 1), ylim=(0, 1.02), xlabel="probability of the most likely option")
        panels[0].set_ylabel("share right")
        panels[0].legend(frameon=False, loc="upper left")


def plot_confusion(predictions: Mapping[str, pd.DataFrame], condition: str, path: Path) -> None:
    """Draw counts of gold by predicted answers: one row of panels per question type, one column per model."""
    asked = {model: table[table["condition"] == condition] for model, table in predictions.items()}
    kinds = confusable(next(iter(asked.values())))
    with figure(path, 3.6 * len(asked) + 0.4, 3.3 * max(len(kinds), 1) + 0.4) as drawn:
        panels = drawn.subplots(max(len(kinds), 1), len(asked), squeeze=False)
        for row, (kind, answers) in zip(panels, kinds.items(), strict=False):
            for panel, (model, part) in zip(row, asked.items(), strict=True):
                table = confusion(part[part["question_type"] == kind], answers)
                counts = table.to_numpy()
                shares = counts / counts.sum(axis=1, keepdims=True).clip(1)
                panel.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=0.4)
                for y, row_counts in enumerate(counts):
                    for x, count in enumerate(row_counts):
                        if count:
                            dark = shares[y, x] > 0.6
                            color = "white" if dark else "0.2"
                            panel.text(x + 0.5, y + 0.5, str(count), ha="center", va="center", fontsize=6, color=color)
                panel.set_xticks([x + 0.5 for x in range(len(table.columns))], list(table.columns), rotation=90)
                panel.set_yticks([y + 0.5 for y in range(len(table.index))], list(table.index))
                panel.tick_params(length=0, labelsize=7)
                panel.invert_yaxis()
                panel.set_title(f"{kind}: {model}", loc="left")
            row[0].set_ylabel("right answer")
        for panel in panels[-1]:
            panel.set_xlabel("answer given")


@dataclass(frozen=True)
class Figures:
    """Inputs of the figures.

    comparison: reports/comparison.json; scores: reports/scores.json, and predictions: by trained model, of every arm
    the first training run's; curves: by arm, one per training run; clip: train.max_grad_norm; judged: the planned
    conditions; shown: the one whose confusions are drawn.
    """

    comparison: Mapping[str, Any]
    scores: Mapping[str, Any]
    predictions: Mapping[str, pd.DataFrame]
    curves: Mapping[str, Sequence[pd.DataFrame]]
    clip: float
    judged: Sequence[str]
    shown: str


# Figures by name, as in reports/plots/NAME.svg. To add one, add an entry, and its file in dvc.yaml; the report shows it
# after the others.
FIGURES: dict[str, Callable[[Figures, Path], None]] = {
    "forest": lambda given, path: plot_forest(given.comparison, path),
    "curves": lambda given, path: plot_curves(given.curves, given.clip, path),
    "calibration": lambda given, path: plot_calibration(
        {model: found["calibration"] for model, found in given.scores.items()}, given.judged, path
    ),
    "confusion": lambda given, path: plot_confusion(given.predictions, given.shown, path),
}
