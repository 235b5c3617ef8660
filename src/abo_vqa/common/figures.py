"""Figures as SVG files with reproducible bytes, for browsers, the report and `dvc plots show`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colorblind-safe colors, one per model or series (Okabe and Ito).
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")


@contextmanager
def figure(path: Path, width: float, height: float) -> Iterator["Figure"]:
    """Yield an empty figure (inches), and write it to `path` as SVG if the block succeeds."""
    # Imported here: they take half a second, which a stage that fails early should not spend.
    import matplotlib
    from matplotlib.figure import Figure

    from abo_vqa.common.storage import replacing

    settings: Any = {
        "svg.hashsalt": "abo-vqa",  # element ids would be random otherwise
        "svg.fonttype": "none",  # text stays text
        "text.parse_math": False,  # a brand may have dollar signs
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
    }
    with matplotlib.rc_context(settings):
        # An SVG has 72 dots per inch; the layout then measures the text at its final size.
        drawn = Figure(figsize=(width, height), dpi=72, layout="constrained")
        yield drawn
        _settle(drawn)
        with replacing(path) as temporary:
            drawn.savefig(temporary, format="svg", metadata={"Date": None})


def _settle(drawn: "Figure") -> None:
    """Lay out the panels and round their positions: the solver's last bits vary, and element ids hash them."""
    engine = drawn.get_layout_engine()
    assert engine is not None
    engine.execute(drawn)
    drawn.set_layout_engine("none")
    for panel in drawn.axes:
        left, bottom, width, height = (round(edge, 6) for edge in panel.get_position().bounds)
        panel.set_position((left, bottom, width, height))
