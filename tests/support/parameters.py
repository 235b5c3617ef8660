"""Parameters by their dotted names."""

from typing import Any


def changed(values: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Set a dotted key in nested values; return the same values."""
    group = values
    *groups, last = key.split(".")
    for name in groups:
        group = group[name]
    group[last] = value
    return values
