"""Backgrounds for products: plain white as in most product photos, or muted colors."""

from __future__ import annotations

import math
import random

import numpy as np
from PIL import Image

Rgb = tuple[int, int, int]

WHITE: Rgb = (255, 255, 255)

_QUIET: tuple[Rgb, ...] = (
    (236, 236, 232), (212, 222, 232), (228, 216, 204), (204, 220, 206), (190, 196, 204), (148, 160, 174),
    (166, 150, 138), (94, 104, 118), (60, 63, 72), (118, 140, 130), (224, 206, 216), (182, 192, 160),
)  # fmt: skip

_LEAST_CONTRAST = 105.0


def _distance(a: Rgb, b: Rgb) -> float:
    """Return the Euclidean distance of two colors, 0 to 441."""
    return math.dist(a, b)


def draw_background(size: tuple[int, int], product: Rgb, rng: random.Random) -> Image.Image:
    """Return an RGB background of size (width, height) with enough contrast to the product's color."""
    if rng.random() < 0.55 and _distance(product, WHITE) > _LEAST_CONTRAST:
        return Image.new("RGB", size, WHITE)
    quiet = [color for color in _QUIET if _distance(product, color) > _LEAST_CONTRAST]
    # A much darker second color would look like a separate object.
    first = rng.choice(quiet)
    second = rng.choice([color for color in quiet if _distance(first, color) < 130])
    kind = rng.choice(("plain", "gradient", "floor", "texture"))
    if kind == "plain":
        return Image.new("RGB", size, first)
    if kind == "gradient":
        return _gradient(size, first, second, rng)
    if kind == "floor":
        return _floor(size, first, second, rng)
    return _texture(size, first, rng)


def _gradient(size: tuple[int, int], first: Rgb, second: Rgb, rng: random.Random) -> Image.Image:
    """Return a linear gradient in a random direction."""
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[-1:1:16j, -1:1:16j]
    share = (0.5 + 0.35 * (x * math.cos(angle) + y * math.sin(angle)))[..., None]
    colors = np.asarray(first) * (1 - share) + np.asarray(second) * share
    small = Image.fromarray(colors.clip(0, 255).astype(np.uint8))
    return small.resize(size, Image.Resampling.BILINEAR)


def _floor(size: tuple[int, int], wall: Rgb, floor: Rgb, rng: random.Random) -> Image.Image:
    """Return a wall and a floor that meet in the lower half."""
    width, height = size
    image = Image.new("RGB", size, wall)
    horizon = round(height * rng.uniform(0.55, 0.8))
    image.paste(floor, (0, horizon, width, height))
    image.paste(tuple(round(0.88 * value) for value in floor), (0, horizon, width, horizon + max(2, height // 90)))
    return image


def _texture(size: tuple[int, int], color: Rgb, rng: random.Random) -> Image.Image:
    """Return soft clouds around one color."""
    cells = rng.choice((6, 10, 16))
    noise = np.random.default_rng(rng.getrandbits(64)).uniform(-13, 13, (cells, cells, 1))
    clouds = (np.asarray(color) + noise).clip(0, 255).astype(np.uint8)
    return Image.fromarray(clouds).resize(size, Image.Resampling.BICUBIC)
