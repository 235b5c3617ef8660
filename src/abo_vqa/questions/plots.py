"""Plot the counts of a validation: outcomes of questions and outputs, and repairs."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from abo_vqa.common.figures import COLORS, figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW, _PANEL = 0.27, 0.8  # inches per bar, and per panel for its title and axis


def plot_validation(report: Mapping[str, Any], path: Path) -> None:
    """Draw, for each generator, the outcomes of its questions and outputs, and the repairs of the clean ones."""
    generators = report["by_generator"]
    fates = {name: _fates(part) for name, part in generators.items()}
    repairs = {name: _by_count(part["repairs"]) for name, part in generators.items()}
    rows = {name: max(len(fates[name]), len(repairs[name]), 1) for name in generators}
    heights = [_ROW * count + _PANEL for count in rows.values()] or [_PANEL]
    with figure(path, 10, sum(heights) + 0.2) as drawn:
        panels = drawn.subplots(max(len(generators), 1), 2, squeeze=False, gridspec_kw={"height_ratios": heights})
        for (left, right), name in zip(panels, generators, strict=True):
            questions, outputs = generators[name]["questions"]["read"], generators[name]["outputs"]["read"]
            _draw(left, fates[name], rows[name], [COLORS[0], *[COLORS[5]] * (len(fates[name]) - 2), COLORS[1]])
            left.set_title(f"{name}: {questions:,} questions in {outputs:,} outputs", loc="left")
            _draw(right, repairs[name], rows[name], [COLORS[2]] * len(repairs[name]))
            right.set_title("clean questions by repair", loc="left")


def _fates(part: Mapping[str, Any]) -> list[tuple[str, int]]:
    refused = [(f"fails: {name}", count) for name, count in _by_count(part["quarantined_by_reason"])]
    return [("clean", part["questions"]["clean"]), *refused, ("unparsable outputs", part["outputs"]["unparsable"])]


def _by_count(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(((name, count) for name, count in counts.items()), key=lambda item: (-item[1], item[0]))


def _draw(panel: "Axes", bars: list[tuple[str, int]], rows: int, colors: list[str]) -> None:
    names, counts = [name.replace("_", " ") for name, _ in bars], [count for _, count in bars]
    places = range(len(bars))
    panel.barh(places, counts, color=colors)
    for place, count in zip(places, counts, strict=True):
        panel.annotate(f"{count:,}", (count, place), (3, 0), textcoords="offset points", va="center")
    panel.set_yticks(places, names)
    panel.set_ylim(rows - 0.4, -0.6)
    panel.set_xlim(0, 1.15 * max([*counts, 1]))
