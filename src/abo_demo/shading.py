"""Turn a product's layers into pixels: color, the texture of its material, light, outline.

Texture periods are shares of the picture, not of the product, so that they stay visible at 96 by 96 pixels.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from abo_demo.products.pen import NEUTRAL_TONE, Pen

Rgb = tuple[int, int, int]
Plane = NDArray[np.float32]

# One period of the coarser textures is 1/22 of the picture: above four pixels of 96.
_PERIODS_PER_PICTURE = 22
_DARK = 62.0

# One period of the sine. numpy's differs in its last bit between processors, and so would the pictures.
_TURN = np.array([round(math.sin(2 * math.pi * step / 2048), 6) for step in range(2048)], np.float32)


def _wave(turns: Plane) -> Plane:
    """Return the sine of an angle in turns."""
    return _TURN[np.floor(turns * 2048).astype(np.int32) & 2047]


@dataclass
class Surface:
    """Inputs and outputs of a texture; all planes of shape (height, width).

    x, y: pixel coordinates. inside: blurred mask, 1 well inside the product. deep: the same with a larger blur. period:
    pixels of one texture period. relief: set to -1 dark to 1 bright. gloss: share of white light on top. alpha: opacity
    of the body.
    """

    x: Plane
    y: Plane
    inside: Plane
    deep: Plane
    period: float
    noise: np.random.Generator
    relief: Plane
    gloss: Plane
    alpha: Plane

    def clouds(self, period_x: float, period_y: float) -> Plane:
        """Return smooth noise from -1 to 1 with features of the given size in pixels."""
        height, width = self.x.shape
        cells = (max(2, round(height / period_y)) + 1, max(2, round(width / period_x)) + 1)
        small = self.noise.uniform(-1, 1, cells).astype(np.float32)
        return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))

    def center(self) -> tuple[float, float]:
        """Return the innermost point of the product as (x, y), the upper left one of equals."""
        height, width = self.x.shape
        score = self.deep - 0.12 * self.x / width - 0.22 * self.y / height
        row, column = np.unravel_index(int(np.argmax(score)), score.shape)
        return float(column), float(row)


def _wood(s: Surface) -> None:
    """Grain: dark wavy lines along the longer side."""
    height, width = s.x.shape
    along, across = (s.x, s.y) if width >= height else (s.y, s.x)
    long_waves = s.clouds(6 * s.period, 2.5 * s.period) if width >= height else s.clouds(2.5 * s.period, 6 * s.period)
    wave = _wave(across / s.period + 0.55 * long_waves + 0.012 * along / s.period)
    s.relief[:] = 0.12 + 0.22 * long_waves - 1.05 * np.clip((wave - 0.1) * 1.6, 0, 1)


def _metal(s: Surface) -> None:
    """Brushed: broad soft bands of light across, bright in the middle, with fine strokes."""
    height, width = s.x.shape
    slant = (s.x + 0.55 * s.y) / (width + 0.55 * height)
    start = s.noise.uniform(0.0, 0.25)
    bands = _wave(slant * 2.1 - start + 0.25)
    strokes = s.noise.uniform(-1, 1, (height // 3 + 1, 1)).astype(np.float32).repeat(3, axis=0)[:height]
    s.relief[:] = np.minimum(0.85 * bands, 0.35) + 0.12 * strokes
    shine = np.clip((bands - 0.55) / 0.45, 0, 1)
    s.gloss[:] = 0.78 * shine * np.sqrt(shine)


def _plastic(s: Surface) -> None:
    """Flat, with one hard-edged bright area on top."""
    height, width = s.x.shape
    edge = 0.40 + 0.10 * _wave(0.5 * s.x / width + 0.1)
    bright = s.y / height < edge
    s.relief[:] = np.where(bright, 0.1, -0.22)
    s.gloss[:] = np.where(bright, 0.26, 0.0)


def _glass(s: Surface) -> None:
    """See-through, strong at the rim, with two sharp slanted glints."""
    height, width = s.x.shape
    s.alpha[:] = 0.97 - 0.45 * np.clip((s.inside - 0.72) * 4, 0, 1)
    s.relief[:] = -0.75 * (s.inside < 0.86)
    slant = (s.x + 0.6 * s.y) / (width + 0.6 * height)
    first = s.noise.uniform(0.26, 0.36)
    glints = ((slant > first) & (slant < first + 0.055)) | ((slant > first + 0.085) & (slant < first + 0.105))
    s.gloss[:] = np.where(glints & (s.inside > 0.5), 0.92, 0.0)
    s.alpha[:] = np.where(glints, 1.0, s.alpha)


def _fabric(s: Surface) -> None:
    """A weave: two sets of crossing slanted threads."""
    step = 1.35 * s.period
    threads = np.minimum(_wave((s.x + s.y) / step), _wave((s.x - s.y) / step))
    s.relief[:] = 0.15 + 1.0 * np.clip(threads, -0.85, 0.3)


def _leather(s: Surface) -> None:
    """Blotches, and a pale dashed seam a little inside the rim."""
    blotches = s.clouds(1.1 * s.period, 1.1 * s.period)
    s.relief[:] = -0.75 * np.clip(blotches * 2.2, -0.25, 1)
    seam = (s.inside > 0.80) & (s.inside < 0.93)
    dashes = _wave((s.x + s.y) / (1.5 * s.period)) > -0.25
    s.gloss[:] = np.where(seam & dashes, 0.75, 0.0)
    s.relief[:] = np.where(seam & ~dashes, -0.8, s.relief)


def _ceramic(s: Surface) -> None:
    """Smooth and dark toward the rim, with small dark speckles and round white spots of light."""
    height, width = s.x.shape
    cell = max(2.0, 0.42 * s.period)
    cells = (round(height / cell) + 1, round(width / cell) + 1)
    speckles = (s.noise.random(cells) < 0.085).astype(np.float32)
    spread = np.asarray(Image.fromarray(speckles).resize((width, height), Image.Resampling.BILINEAR))
    s.relief[:] = 0.15 - 0.55 * np.clip((0.97 - s.inside) * 2, 0, 1) - 0.85 * np.clip(spread * 1.5 - 0.3, 0, 1)
    x, y = s.center()
    radius = max(1.1 * s.period, 0.07 * math.sqrt(width * height))
    for dx, dy, share in ((0.0, 0.0, 1.0), (1.25, 1.25, 0.45)):
        distance = np.sqrt((s.x - x - dx * radius) ** 2 + (s.y - y - dy * radius) ** 2) / (radius * share)
        s.gloss[:] = np.maximum(s.gloss, 0.95 * np.clip((1.15 - distance) * 4, 0, 1))


TEXTURES = {
    "wood": _wood, "metal": _metal, "plastic": _plastic, "glass": _glass, "fabric": _fabric, "leather": _leather,
    "ceramic": _ceramic,
}  # fmt: skip


def _plane(image: Image.Image) -> Plane:
    return np.asarray(image, dtype=np.float32)


def shade(pen: Pen, color: Rgb, material: str, long_side: int, rng: random.Random) -> NDArray[np.uint8]:
    """Return the product as (height, width, 4) RGBA pixels, for a picture whose long side has long_side pixels."""
    height, width = pen.height, pen.width
    period = long_side / _PERIODS_PER_PICTURE
    y, x = np.meshgrid(np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32), indexing="ij")
    mask = _plane(pen.mask) / 255
    # The border of the picture counts as outside, so that products that fill their box also have a rim.
    reach = max(2, round(0.014 * long_side))
    inside = _blur_padded(pen.mask, reach)
    surface = Surface(
        x, y, inside, _blur_padded(pen.mask, 4 * reach), period, np.random.default_rng(rng.getrandbits(64)),
        np.zeros_like(x), np.zeros_like(x), np.ones_like(x),
    )  # fmt: skip
    TEXTURES[material](surface)

    dark = 0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2] < _DARK
    tone = _plane(pen.tone) / NEUTRAL_TONE
    relief = surface.relief
    body = np.empty((height, width, 3), np.float32)
    body[:] = color
    if dark:
        # On black, only light can show a texture or a line.
        body += (26 * np.abs(relief) + 85 * np.abs(tone - 1))[..., None]
    else:
        body *= (tone * (1 + 0.40 * relief))[..., None]
        body += (10 * relief)[..., None]
    slope = rng.uniform(-0.09, 0.09)
    light = rng.uniform(0.92, 1.05) * (1 + slope * (2 * x / width - 1) - 0.05 * (2 * y / height - 1))
    body *= light[..., None]
    gloss = surface.gloss * (0.72 if dark else 1.0)
    body += (255 - body) * gloss[..., None]

    inked = _plane(pen.inked)[..., None] / 255
    pixels = body * (1 - inked) + _plane(pen.ink) * inked
    pixels *= (1 - 0.5 * _outline(pen, long_side))[..., None]
    alpha = mask * np.maximum(surface.alpha, inked[..., 0])
    return np.dstack([pixels.clip(0, 255), alpha * 255]).astype(np.uint8)


def _blur_padded(mask: Image.Image, reach: int) -> Plane:
    """Return the mask, 0 to 1, blurred over reach pixels as if empty beyond its border."""
    padded = Image.new("L", (mask.width + 2 * reach, mask.height + 2 * reach), 0)
    padded.paste(mask, (reach, reach))
    blurred = padded.filter(ImageFilter.BoxBlur(reach))
    return _plane(blurred)[reach:-reach, reach:-reach] / np.float32(255)


def _outline(pen: Pen, long_side: int) -> Plane:
    """Return the dark outline's strength, 0 to 1: at the rim and at every edge between strokes."""
    thick = max(1, round(0.004 * long_side))
    rim = np.clip((0.82 - _blur_padded(pen.mask, thick)) * 4, 0, 1)
    marks = np.asarray(pen.tone, dtype=np.int16) + 2 * np.asarray(pen.inked, dtype=np.int16)
    ink = np.asarray(pen.ink, dtype=np.int16).sum(axis=2)
    edges = np.zeros(marks.shape, bool)
    for plane in (marks, ink):
        edges[:, 1:] |= np.abs(np.diff(plane, axis=1)) > 10
        edges[1:, :] |= np.abs(np.diff(plane, axis=0)) > 10
    return np.maximum(rim, edges.astype(np.float32))
