"""Figures as SVG files: the same bytes for the same numbers, readable in a browser, a report and `dvc plots show`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from abo_vqa.common.storage import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# One colour per model or series, told apart by colour-blind readers too (Okabe and Ito).
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")


@contextmanager
def figure(path: Path, width: float, height: float) -> Iterator["Figure"]:
    """Yield an empty figure (inches) that is written to `path` as SVG if the block ends well."""
    # Imported here: it takes half a second that a stage which fails early need not spend.
    import matplotlib
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.hashsalt": "abo-vqa",  # element ids would be random otherwise
        "svg.fonttype": "none",  # text stays text
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
    }
    with matplotlib.rc_context(settings):
        # 72 dots per inch are those of an SVG: the layout then measures the text as it is written.
        drawn = Figure(figsize=(width, height), dpi=72, layout="constrained")
        yield drawn
        _settle(drawn)
        with replacing(path) as temporary:
            drawn.savefig(temporary, format="svg", metadata={"Date": None})


def _settle(drawn: "Figure") -> None:
    """Lay the panels out and round where they stand: the solver's last bits vary, and element ids hash them."""
    engine = drawn.get_layout_engine()
    assert engine is not None
    engine.execute(drawn)
    drawn.set_layout_engine("none")
    for panel in drawn.axes:
        left, bottom, width, height = (round(edge, 6) for edge in panel.get_position().bounds)
        panel.set_position((left, bottom, width, height))
