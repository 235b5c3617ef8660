"""The pen that draws every product, and the registry of drawings.

A drawing works in a box of 100 by 100 units, independent of its size in pixels. Each of its strokes is body (shaded
later in the product's color and material), ink of a fixed color, or a hole.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from PIL import Image, ImageDraw

Point = tuple[float, float]
Rgb = tuple[int, int, int]

DARK: Rgb = (52, 54, 60)
STEEL: Rgb = (176, 180, 188)
PALE: Rgb = (232, 232, 228)

NEUTRAL_TONE = 128


class Pen:
    """Draws one product into four layers of the same pixel size.

    mask: where the product is (L). tone: brightness of the body there (L, 128 neutral). ink: fixed colors (RGB).
    inked: where ink covers the body (L). parts: number of contents to draw, 0 for none.
    """

    def __init__(self, width: int, height: int, parts: int, rng: random.Random) -> None:
        self.width, self.height = width, height
        self.parts = parts
        self.rng = rng
        # Strokes keep one thickness in x and y however much the box is stretched.
        self.unit = math.sqrt(width * height) / 100
        size = (width, height)
        self.mask = Image.new("L", size, 0)
        self.tone = Image.new("L", size, NEUTRAL_TONE)
        self.ink = Image.new("RGB", size, 0)
        self.inked = Image.new("L", size, 0)
        self._mask = ImageDraw.Draw(self.mask)
        self._tone = ImageDraw.Draw(self.tone)
        self._ink = ImageDraw.Draw(self.ink)
        self._inked = ImageDraw.Draw(self.inked)

    def _each(self, tone: float, ink: Rgb | None, hole: bool, stroke: Callable[..., None]) -> None:
        """Draw the stroke into every layer with that layer's value."""
        stroke(self._mask, 0 if hole else 255)
        stroke(self._inked, 255 if ink and not hole else 0)
        stroke(self._tone, min(255, round(NEUTRAL_TONE * tone)))
        if ink and not hole:
            stroke(self._ink, ink)

    def _xy(self, points: Sequence[Point]) -> list[Point]:
        return [(x * self.width / 100, y * self.height / 100) for x, y in points]

    def _box(self, x0: float, y0: float, x1: float, y1: float) -> list[Point]:
        # Pillow rejects inverted boxes, which rounding can make of very thin ones.
        (ax, ay), (bx, by) = self._xy([(x0, y0), (x1, y1)])
        return [(ax, ay), (max(ax, bx), max(ay, by))]

    def box(self, x0: float, y0: float, x1: float, y1: float, r: float = 0, t: float = 1.0,
            c: Rgb | None = None, hole: bool = False) -> None:  # fmt: skip
        """Fill a rectangle with corners rounded by r units."""
        xy = self._box(x0, y0, x1, y1)
        radius = min(r * self.unit, (xy[1][0] - xy[0][0]) / 2, (xy[1][1] - xy[0][1]) / 2)
        self._each(t, c, hole, lambda d, f: d.rounded_rectangle(xy, radius, fill=f))

    def oval(self, x0: float, y0: float, x1: float, y1: float, t: float = 1.0,
             c: Rgb | None = None, hole: bool = False) -> None:  # fmt: skip
        """Fill the ellipse inside a rectangle."""
        xy = self._box(x0, y0, x1, y1)
        self._each(t, c, hole, lambda d, f: d.ellipse(xy, fill=f))

    def dot(self, x: float, y: float, r: float, t: float = 1.0, c: Rgb | None = None, hole: bool = False) -> None:
        """Fill a true circle of radius r units, even if the box is stretched."""
        (cx, cy), s = self._xy([(x, y)])[0], r * self.unit
        self._each(t, c, hole, lambda d, f: d.ellipse([cx - s, cy - s, cx + s, cy + s], fill=f))

    def poly(self, points: Sequence[Point], t: float = 1.0, c: Rgb | None = None, hole: bool = False) -> None:
        """Fill a polygon."""
        xy = self._xy(points)
        self._each(t, c, hole, lambda d, f: d.polygon(xy, fill=f))

    def blob(self, points: Sequence[Point], t: float = 1.0, c: Rgb | None = None, hole: bool = False) -> None:
        """Fill the smooth closed curve through the points."""
        self.poly(smooth(points), t, c, hole)

    def line(self, points: Sequence[Point], w: float = 2, t: float = 0.6, c: Rgb | None = None) -> None:
        """Draw a polyline w units thick."""
        xy, width = self._xy(points), max(1, round(w * self.unit))
        self._each(t, c, False, lambda d, f: d.line(xy, fill=f, width=width, joint="curve"))

    def arc(self, x0: float, y0: float, x1: float, y1: float, start: float, end: float, w: float = 2,
            t: float = 1.0, c: Rgb | None = None) -> None:  # fmt: skip
        """Draw an arc w units thick from start to end degrees, clockwise from three o'clock."""
        xy, width = self._box(x0, y0, x1, y1), max(1, round(w * self.unit))
        self._each(t, c, False, lambda d, f: d.arc(xy, start, end, fill=f, width=width))

    def ring(self, x0: float, y0: float, x1: float, y1: float, w: float, t: float = 1.0,
             c: Rgb | None = None) -> None:  # fmt: skip
        """Draw a closed ellipse outline w units thick."""
        self.arc(x0, y0, x1, y1, 0, 360, w, t, c)

    def fit(self, r: float, dx: float, dy: float) -> float:
        """Return the radius r, or less if neighbors dx by dy units apart would overlap."""
        return min(r, 0.47 * dx * self.width / (100 * self.unit), 0.47 * dy * self.height / (100 * self.unit))

    def slots(self, x0: float, y0: float, x1: float, y1: float, per_row: int = 5) -> list[tuple[Point, float, float]]:
        """Return places for the parts in a rectangle: centers, and the width and height of one place, in units."""
        if self.parts == 0:
            return []
        rows = math.ceil(self.parts / per_row)
        columns = math.ceil(self.parts / rows)
        width, height = (x1 - x0) / columns, (y1 - y0) / rows
        places = []
        for index in range(self.parts):
            row, column = divmod(index, columns)
            in_row = min(columns, self.parts - row * columns)
            # A short last row is centered; otherwise it would look cut off.
            offset = (columns - in_row) / 2
            places.append(((x0 + (column + offset + 0.5) * width, y0 + (row + 0.5) * height), width, height))
        return places


def smooth(points: Sequence[Point], steps: int = 6) -> list[Point]:
    """Return the closed Catmull-Rom curve through the points, as a polygon with `steps` corners per point."""
    count, curve = len(points), []
    for i in range(count):
        (ax, ay), (bx, by) = points[i - 1], points[i]
        (cx, cy), (dx, dy) = points[(i + 1) % count], points[(i + 2) % count]
        for step in range(steps):
            u = step / steps
            k0, k1 = -(u**3) + 2 * u**2 - u, 3 * u**3 - 5 * u**2 + 2
            k2, k3 = -3 * u**3 + 4 * u**2 + u, u**3 - u**2
            curve.append(((k0 * ax + k1 * bx + k2 * cx + k3 * dx) / 2, (k0 * ay + k1 * by + k2 * cy + k3 * dy) / 2))
    return curve


Drawing = Callable[[Pen], None]
_F = TypeVar("_F", bound=Drawing)

DRAWINGS: dict[str, Drawing] = {}


def draws(name: str) -> Callable[[_F], _F]:
    """Register a drawing under the product type it draws; ValueError if that type has one already."""

    def register(drawing: _F) -> _F:
        if name in DRAWINGS:
            raise ValueError(f"two drawings for {name}")
        DRAWINGS[name] = drawing
        return drawing

    return register
