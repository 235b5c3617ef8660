"""Format shares, intervals and Markdown tables."""

from collections.abc import Mapping, Sequence

import pandas as pd


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; columns whose cells all start with a digit or sign are right-aligned."""
    signs = "+-−0123456789"
    aligned = ["right" if all(cell[:1] in signs for cell in cells) else "left" for cells in zip(*rows, strict=True)]
    table = pd.DataFrame(list(rows), columns=list(heads))
    # The cells are formatted already; tabulate would parse numbers and format them again.
    return table.to_markdown(index=False, colalign=aligned, disable_numparse=True)


def percent(share: float, digits: int = 0) -> str:
    """Return a share in percent."""
    return f"{100 * share:.{digits}f} %"


def span(row: Mapping[str, float], sign: str = "") -> str:
    """Return the interval `low` to `high` in percent, without a percent sign; sign: "+" to sign positive numbers."""
    return f"{100 * row['low']:{sign}.1f} to {100 * row['high']:{sign}.1f}"
