"""Figures as text: shares, intervals, Markdown tables."""

from collections.abc import Mapping, Sequence


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


def percent(share: float, digits: int = 0) -> str:
    """Return a share in per cent."""
    return f"{100 * share:.{digits}f} %"


def span(row: Mapping[str, float], sign: str = "") -> str:
    """Return the interval `low` to `high` in per cent, without the sign of per cent; sign "+": with that of numbers."""
    return f"{100 * row['low']:{sign}.1f} to {100 * row['high']:{sign}.1f}"
