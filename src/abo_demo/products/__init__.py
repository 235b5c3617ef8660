"""Drawings of all product types, by type name."""

from abo_demo.products import (  # noqa: F401  (imported for the drawings they register)
    electronics,
    furniture,
    home,
    kitchen,
    wearables,
)
from abo_demo.products.pen import DRAWINGS, Pen

__all__ = ["DRAWINGS", "Pen"]
