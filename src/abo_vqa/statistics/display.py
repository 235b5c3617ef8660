"""Format shares, intervals and Markdown tables."""

import re
from collections.abc import Mapping, Sequence

import pandas as pd

# Of Markdown and HTML: escapes, tags, entities, links, cells, code, emphasis. An underscore inside a word is none.
_MARKS = re.compile(r"[\\<&\[|`*]|(?<!\w)_|_(?!\w)")

# A name as code, such as a condition's.
_CODE = re.compile(r"`[\w/-]+`")


def plain(text: str) -> str:
    """Return a text on one line that Markdown shows as it is, never as HTML; a name as code stays so."""
    return text if _CODE.fullmatch(text) else _MARKS.sub(r"\\\g<0>", " ".join(text.splitlines()))


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table of plain texts; columns whose cells all start with a digit or sign are right-aligned."""
    signs = "+-−0123456789"
    aligned = ["right" if all(cell[:1] in signs for cell in cells) else "left" for cells in zip(*rows, strict=True)]
    table = pd.DataFrame([list(map(plain, row)) for row in rows], columns=list(map(plain, heads)))
    # The cells are formatted already; tabulate would parse numbers and format them again.
    return table.to_markdown(index=False, colalign=aligned, disable_numparse=True)


def percent(share: float, digits: int = 0) -> str:
    """Return a share in percent."""
    return f"{100 * share:.{digits}f} %"


def span(row: Mapping[str, float], sign: str = "") -> str:
    """Return the interval `low` to `high` in percent, without a percent sign; sign: "+" to sign positive numbers."""
    return f"{100 * row['low']:{sign}.1f} to {100 * row['high']:{sign}.1f}"
