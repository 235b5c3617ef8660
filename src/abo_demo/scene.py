"""Draw a scene: copies of one product, in one color and material, on a background."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from abo_demo.background import draw_background
from abo_demo.products import DRAWINGS, Pen
from abo_demo.shading import shade
from abo_demo.vocabulary import COLORS, PRODUCT_TYPES, ProductType

MAX_COUNT = 10

_SUPERSAMPLE = 2
_MARGIN = 0.03


@dataclass(frozen=True)
class Scene:
    """The content of a picture, and so the facts of its listing.

    count: copies of the product, 1 to 10. parts: contents drawn in it, 0 to 10, None to draw none; only if the product
    has a part and count is 1. stretch: factor on width over height. Raises ValueError otherwise.
    """

    product: ProductType
    color: str
    material: str
    count: int
    parts: int | None
    stretch: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_COUNT:
            raise ValueError(f"count is {self.count}, not 1 to {MAX_COUNT}")
        if self.parts is not None:
            if self.product.part is None or self.count != 1:
                raise ValueError("only a single product that has a part can show parts")
            if not 0 <= self.parts <= MAX_COUNT:
                raise ValueError(f"parts is {self.parts}, not 0 to {MAX_COUNT}")

    @property
    def aspect(self) -> float:
        """Return width over height as drawn."""
        return self.product.aspect * self.stretch

    @property
    def shape(self) -> str:
        """Return the silhouette as drawn: a stretched round product is oval, a square one rectangular."""
        stretched = not 0.84 <= self.stretch <= 1.19
        if self.product.shape == "round" and stretched:
            return "oval"
        if self.product.shape == "square" and stretched:
            return "rectangular"
        if self.product.shape == "rectangular" and 0.88 <= self.aspect <= 1.14:
            return "square"
        return self.product.shape


def sample_scene(rng: random.Random, product: ProductType | None = None) -> Scene:
    """Return a random scene of the given product or one drawn by weight; color, material and count are uniform."""
    if product is None:
        product = rng.choices(PRODUCT_TYPES, [p.weight for p in PRODUCT_TYPES])[0]
    color = rng.choice(list(COLORS))
    material = rng.choice(product.materials)
    parts, count = None, 1
    if product.part is not None and rng.random() < 0.7:
        parts = rng.randint(0, MAX_COUNT)
    elif rng.random() < 0.75:
        count = rng.randint(1, MAX_COUNT)
    return Scene(product, color, material, count, parts, sample_stretch(rng, product))


def sample_stretch(rng: random.Random, product: ProductType) -> float:
    """Return a stretch that is negligible or obvious, so that the shape is clear: no oval is nearly round."""
    while True:
        factor = rng.uniform(1.3, 1.6)
        stretch = round(rng.choice((rng.uniform(0.94, 1.06), rng.uniform(0.94, 1.06), factor, 1 / factor)), 3)
        aspect = product.aspect * stretch
        doubtful = (product.shape == "oval" and 0.82 < aspect < 1.22) or (
            product.shape == "rectangular" and (0.8 < aspect < 0.9 or 1.1 < aspect < 1.25)
        )
        if not doubtful:
            return stretch


def draw_scene(scene: Scene, rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """Draw a scene as an RGB image of size (width, height) pixels; equal rng states give equal images."""
    width, height = size[0] * _SUPERSAMPLE, size[1] * _SUPERSAMPLE
    canvas = draw_background((width, height), COLORS[scene.color], rng)
    long_side = max(width, height)

    tilt = rng.uniform(-7, 7) if rng.random() < 0.6 else 0.0
    columns, rows, scale = _grid(scene, (width, height), tilt, rng)
    object_height = max(8, round(scale))
    object_width = max(8, round(scale * scene.aspect))
    patch = _draw_product(scene, (object_width, object_height), long_side, rng)
    if tilt:
        patch = patch.rotate(tilt, Image.Resampling.BICUBIC, expand=True)

    shadow = _shadow(patch, long_side)
    lean = rng.choice((-1, 1)) * rng.uniform(0.006, 0.02) * long_side
    drop = rng.uniform(0.006, 0.02) * long_side
    for x, y in _places(scene.count, columns, rows, (width, height), patch.size, rng):
        pad = (shadow.width - patch.width) // 2
        canvas.paste((28, 26, 30), (round(x - pad + lean), round(y - pad + drop)), shadow)
        canvas.paste(patch, (round(x), round(y)), patch.getchannel("A"))
    return canvas.resize(size, Image.Resampling.LANCZOS)


def _draw_product(scene: Scene, size: tuple[int, int], long_side: int, rng: random.Random) -> Image.Image:
    """Return one copy of the product as RGBA of size pixels."""
    pen = Pen(size[0], size[1], scene.parts or 0, rng)
    DRAWINGS[scene.product.name](pen)
    pixels = shade(pen, COLORS[scene.color], scene.material, long_side, rng)
    return Image.fromarray(np.ascontiguousarray(pixels))


def _rotated(width: float, height: float, tilt: float) -> tuple[float, float]:
    """Return width and height of the bounding box of a tilted box."""
    sine, cosine = abs(math.sin(math.radians(tilt))), math.cos(math.radians(tilt))
    return width * cosine + height * sine, width * sine + height * cosine


def _grid(scene: Scene, size: tuple[int, int], tilt: float, rng: random.Random) -> tuple[int, int, float]:
    """Return columns, rows and object height in pixels of a random one of the grids with nearly largest copies."""
    width, height = size[0] * (1 - 2 * _MARGIN), size[1] * (1 - 2 * _MARGIN)
    box_width, box_height = _rotated(scene.aspect, 1.0, tilt)
    grids = []
    for columns in range(1, scene.count + 1):
        rows = math.ceil(scene.count / columns)
        if (columns - 1) * rows < scene.count:
            # The gap keeps neighbors apart despite the jitter.
            fit = min(0.9 * width / columns / box_width, 0.9 * height / rows / box_height)
            grids.append((fit, columns, rows))
    largest = max(grids)[0]
    fit, columns, rows = rng.choice([grid for grid in grids if grid[0] >= 0.85 * largest])
    if scene.count > 1:
        shrink = rng.uniform(0.86, 1.0)
    elif scene.parts is not None:
        shrink = rng.uniform(0.88, 1.05)
    else:
        shrink = rng.uniform(0.6, 1.05)
    return columns, rows, fit * shrink


def _places(
    count: int, columns: int, rows: int, size: tuple[int, int], patch: tuple[int, int], rng: random.Random
) -> list[tuple[float, float]]:
    """Return the top left corners of the copies: a jittered grid without touching boxes."""
    left, top = size[0] * _MARGIN, size[1] * _MARGIN
    cell_width, cell_height = (size[0] - 2 * left) / columns, (size[1] - 2 * top) / rows
    slack_x, slack_y = max(0.0, cell_width - patch[0]), max(0.0, cell_height - patch[1])
    # A single product may be anywhere; several keep a gap of a tenth of their cell.
    play_x, play_y = (slack_x, slack_y) if count == 1 else (
        max(0.0, slack_x - 0.1 * cell_width), max(0.0, slack_y - 0.1 * cell_height))  # fmt: skip
    center_last_row = rng.random() < 0.5
    places = []
    for index in range(count):
        row, column = divmod(index, columns)
        in_row = min(columns, count - row * columns)
        shift = (columns - in_row) / 2 if center_last_row else 0
        x = left + (column + shift) * cell_width + slack_x / 2 + rng.uniform(-0.5, 0.5) * play_x
        y = top + row * cell_height + slack_y / 2 + rng.uniform(-0.5, 0.5) * play_y
        places.append((x, y))
    return places


def _shadow(patch: Image.Image, long_side: int) -> Image.Image:
    """Return the soft shadow of a patch as an L mask, padded so that the blur is not cut off."""
    radius = max(2, round(0.012 * long_side))
    pad = 2 * radius
    alpha = Image.new("L", (patch.width + 2 * pad, patch.height + 2 * pad), 0)
    alpha.paste(patch.getchannel("A").point(lambda value: value * 0.42), (pad, pad))
    return alpha.filter(ImageFilter.BoxBlur(radius)).filter(ImageFilter.BoxBlur(radius / 2))


def silhouette(scene: Scene) -> float | None:
    """Return width over height of the drawn product without its background; None if ambiguous.

    It is ambiguous if the product is wider with its protruding contents, but taller without them.
    """
    pen = Pen(round(200 * scene.aspect), 200, scene.parts or 0, random.Random(0))
    DRAWINGS[scene.product.name](pen)
    drawn = np.asarray(pen.mask) > 127
    ratios = [_ratio(drawn)]
    if scene.product.part is not None:
        ratios.append(_ratio(drawn & (np.asarray(pen.inked) < 128)))
    if min(ratios) < 1 < max(ratios):
        return None
    return ratios[0]


def _ratio(drawn: NDArray[np.bool_]) -> float:
    """Return width over height of the drawn pixels' bounding box."""
    rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
    return float(columns[-1] - columns[0] + 1) / float(rows[-1] - rows[0] + 1)
