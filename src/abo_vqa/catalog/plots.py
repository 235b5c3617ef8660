"""Plots of the sample: shares before and after sampling, and the effect of each rule (paper, section 2.3)."""

import warnings
from collections.abc import Mapping
from pathlib import Path

from abo_vqa.catalog.profile import Distribution
from abo_vqa.common.figures import COLORS, figure

_VALUES = 20
_LONGEST = 32  # characters of a label
_TITLES = {"product_type": "Product types", "brand": "Brands", "color": "Colors"}
_RULES = {
    "square_root": "1: square-root allocation\n(else proportional)",
    "amazonbasics_cap": "1: AmazonBasics cap",
    "color_first": "1, 2: listings with a color first",
    "top_types": "2: most frequent types\n(else stage 1 draws its share)",
    "adjusted_for_stage_1": "2: adjusted for stage 1",
    "shoes_cap": "2: SHOES cap",
    "rare_types": "3: rare types\n(else stage 1 draws its share)",
}
_COUNTS = {
    "amazonbasics": "AmazonBasics",
    "shoes": "SHOES",
    "colorless": "without color",
    "rare_types": "rare types",
    "distinct_types": "distinct types",
}


def plot_distribution(path: Path, fact: str, before: Distribution, after: Distribution) -> None:
    """Draw the shares of the pool's most frequent values before and after sampling, in percent of all products."""
    values = before.most_frequent(_VALUES)
    places = range(len(values))
    with _any_script(), figure(path, 7.5, 1.3 + 0.3 * len(values)) as drawn:
        axes = drawn.add_subplot()
        for shift, distribution, label, color in (
            (-0.2, before, "pool", COLORS[4]),
            (0.2, after, "sample", COLORS[0]),
        ):
            axes.barh(
                [place + shift for place in places],
                [100 * distribution.share(value) for value in values],
                height=0.4,
                color=color,
                label=f"{label}: {len(distribution.counts)} values, entropy {distribution.entropy:.3f}, "
                f"Gini {distribution.gini:.3f}, {_missing(distribution)}",
            )
        axes.set_yticks(list(places), [_shortened(value) for value in values])
        axes.set_ylim(len(values) - 0.4, -0.6)
        axes.set_xlabel("share of all products, %")
        axes.grid(axis="x", alpha=0.3)
        drawn.suptitle(f"{_TITLES.get(fact, fact)}: the pool's {len(values)} most frequent", x=0.01, ha="left")
        drawn.legend(loc="outside lower left", frameon=False, fontsize=8)


def plot_effects(path: Path, effects: Mapping[str, Mapping[str, int]], products: int) -> None:
    """Draw, for each rule, how many products of each kind it adds to the sample or removes from it."""
    rules = list(effects)
    with figure(path, 10, 0.9 + 0.5 * len(rules)) as drawn:
        panels = drawn.subplots(1, len(_COUNTS), sharey=True)
        for axes, (name, title) in zip(panels, _COUNTS.items(), strict=True):
            changes = [effects[rule][name] for rule in rules]
            bars = axes.barh(
                range(len(rules)), changes, height=0.6, color=[COLORS[2] if c > 0 else COLORS[5] for c in changes]
            )
            axes.bar_label(bars, [f"{change:+d}" if change else "0" for change in changes], padding=2, fontsize=8)
            axes.axvline(0, color="black", linewidth=0.8)
            widest = max(1, *(abs(change) for change in changes))
            axes.set_xlim(-1.5 * widest, 1.5 * widest)
            axes.set_title(title, fontsize=9)
            axes.set_xticks([])
            axes.spines[["left", "bottom"]].set_visible(False)
            axes.tick_params(left=False)
        panels[0].set_yticks(range(len(rules)), [_RULES.get(rule, rule) for rule in rules])
        panels[0].set_ylim(len(rules) - 0.5, -0.5)
        drawn.suptitle(
            f"Effect of each rule: products in the sample of {products:,} more (+) or fewer (-) than without it",
            x=0.01,
            ha="left",
        )


class _any_script(warnings.catch_warnings):
    """Ignore scripts that Matplotlib's font lacks: the SVG stores text, which the viewer's fonts render."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.filterwarnings("ignore", message="Glyph .* missing")


def _missing(distribution: Distribution) -> str:
    total = distribution.counts.total() + distribution.missing
    return f"missing in {100 * distribution.missing / max(1, total):.1f} %"


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
