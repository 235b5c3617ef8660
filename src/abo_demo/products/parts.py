"""Small countable things in a product, drawn in ink with fixed colors."""

from __future__ import annotations

from abo_demo.products.pen import Pen, Rgb

# Colors for parts, each drawn with a dark rim, so that it is visible on any product.
GAY: tuple[Rgb, ...] = (
    (222, 60, 60), (250, 205, 60), (60, 120, 215), (70, 170, 90), (240, 140, 50), (150, 80, 180), (240, 150, 190),
)  # fmt: skip
RIM: Rgb = (34, 30, 34)
LEAF: Rgb = (58, 140, 66)


def book(p: Pen, left: float, bottom: float, width: float, height: float, index: int) -> None:
    """A standing book with its lower left corner at (left, bottom)."""
    p.box(left, bottom - height, left + width, bottom, 0, c=RIM)
    p.box(left + 1, bottom - height + 1, left + width - 1, bottom - 0.5, 0, c=GAY[index % len(GAY)])
    p.box(left + 2.5, bottom - 0.8 * height, left + width - 2.5, bottom - 0.68 * height, 0, c=(250, 245, 230))


def flower(p: Pen, x: float, y: float, r: float, index: int) -> None:
    """A round blossom of radius r with a light heart."""
    p.dot(x, y, r, c=RIM)
    p.dot(x, y, r * 0.84, c=GAY[index % len(GAY)] if index % len(GAY) != 3 else (250, 250, 250))
    p.dot(x, y, r * 0.36, c=(255, 244, 190))


def ball(p: Pen, x: float, y: float, r: float, index: int, stem: bool = False) -> None:
    """A ball of radius r, or with a stem a fruit."""
    p.dot(x, y, r, c=RIM)
    p.dot(x, y, r * 0.85, c=GAY[index % len(GAY)])
    p.dot(x - 0.28 * r, y - 0.3 * r, r * 0.24, c=(255, 250, 240))
    if stem:
        p.line([(x, y - 0.75 * r), (x + 0.3 * r, y - 1.35 * r)], 0.3 * r, c=(84, 60, 36))


def cup(p: Pen, x: float, y: float, r: float) -> None:
    """A cup of coffee seen from above."""
    p.line([(x, y), (x + 1.25 * r, y - 0.9 * r)], 0.5 * r, c=RIM)
    p.dot(x, y, r, c=RIM)
    p.dot(x, y, r * 0.84, c=(250, 250, 248))
    p.dot(x, y, r * 0.54, c=(98, 56, 30))


def cookie(p: Pen, x: float, y: float, r: float) -> None:
    """A cookie with dark drops."""
    p.dot(x, y, r, c=(92, 54, 22))
    p.dot(x, y, r * 0.84, c=(214, 160, 92))
    for dx, dy in ((-0.35, -0.3), (0.35, -0.15), (-0.1, 0.4)):
        p.dot(x + dx * r, y + dy * r, r * 0.17, c=(70, 38, 18))


def egg(p: Pen, x: float, y: float, width: float, height: float) -> None:
    """An egg in a hollow."""
    p.oval(x - width, y - height, x + width, y + height, c=RIM)
    p.oval(x - 0.86 * width, y - 0.86 * height, x + 0.86 * width, y + 0.86 * height, c=(252, 240, 220))
    p.dot(x - 0.3 * width, y - 0.35 * height, 1.2, c=(255, 255, 255))


def knob(p: Pen, x: float, y: float, r: float) -> None:
    """A round knob of pale brass."""
    p.dot(x, y, r, c=RIM)
    p.dot(x, y, r * 0.78, c=(250, 226, 150))
    p.dot(x - 0.2 * r, y - 0.2 * r, r * 0.3, c=(255, 252, 232))


def hook(p: Pen, x: float, top: float, half: float, drop: float) -> None:
    """A hook that hangs from (x, top), 2 * half wide and drop tall."""
    end = top + drop
    line = [
        (x - half, end - 16),
        (x - half, end - 6),
        (x - 0.3 * half, end),
        (x + 0.5 * half, end - 7),
        (x + 0.5 * half, top),
    ]
    p.line(line, 3.4, c=RIM)
    p.line(line, 1.7, c=(226, 230, 236))
    p.dot(x + 0.5 * half, top, 2.6, c=RIM)


def pencil(p: Pen, x: float, top: float, bottom: float, half: float, index: int) -> None:
    """A pencil standing point up."""
    tip = top + 3 * half
    p.poly([(x, top - 1), (x + half + 0.7, tip), (x + half + 0.7, bottom), (x - half - 0.7, bottom),
            (x - half - 0.7, tip)], c=RIM)  # fmt: skip
    p.poly([(x, top + 1), (x + half, tip), (x - half, tip)], c=(244, 212, 160))
    p.box(x - half, tip, x + half, bottom, 0, c=GAY[index % len(GAY)])


def candle(p: Pen, x: float, top: float, bottom: float, half: float) -> None:
    """A white candle with its flame."""
    p.oval(x - 0.8 * half - 0.5, top, x + 0.8 * half + 0.5, top + 22, c=(214, 90, 20))
    p.oval(x - 0.4 * half, top + 5, x + 0.4 * half, top + 20, c=(255, 220, 90))
    p.box(x - half - 0.6, top + 20, x + half + 0.6, bottom, 0, c=RIM)
    p.box(x - half, top + 21, x + half, bottom, 0, c=(252, 244, 226))


def socket(p: Pen, x: float, y: float, r: float) -> None:
    """A mains socket: a pale disc with two holes."""
    p.dot(x, y, r, c=RIM)
    p.dot(x, y, r * 0.84, c=(246, 246, 242))
    offset = 0.36 * r * p.unit * 100 / p.width
    for side in (-1, 1):
        p.dot(x + side * offset, y, r * 0.2, c=RIM)
