"""Align one image with a frame of another: move the frame's edges until the pixels correlate best (Gauss-Newton)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from abo_vqa.splits.pixels import (
    COMPARED,
    MARGIN,
    WHOLE,
    Frames,
    Pairs,
    Pixels,
    Thumbnails,
    divided,
    padded,
    resampling,
    standardized,
)

# Pixels per side and iterations of each pass, and the least correlation after it to go on. A coarse pass first: its
# pixels still overlap when the frame is off by a step of the grid.
_PASSES = ((12, 5, 0.9), (COMPARED, 4, 0.96))
_STEP = 1 / 128  # by which an edge moves to measure its effect
_FARTHEST = 0.05  # that an edge moves in an iteration
_CROPPED = 0.3  # the largest part cut off a side
_DAMPING = 1e-3
_TOGETHER = 512
# Least correlation of what is left without the mean around each pixel. Two small objects of one outline on white
# correlate as strongly as the parts of one photograph do, but not in this.
_DETAILS, _AROUND = 0.95, 5


@dataclass(frozen=True)
class Candidates:
    """Pairs of images that may be aligned: an image, or mirrored its mirror image, with a frame of the other."""

    image: NDArray[np.int64]
    other: NDArray[np.int64]
    frame: NDArray[np.int64]
    mirrored: NDArray[np.bool_]


def align(thumbnails: Thumbnails, found: Candidates, frames: Frames, correlation: float) -> Pairs:
    """Return the pairs whose colors, aligned, correlate more than that, and whose details correlate too."""
    pairs = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(found.image), _TOGETHER):
        some = slice(start, start + _TOGETHER)
        images = thumbnails[found.image[some]]
        images = np.where(found.mirrored[some, None, None, None], images[:, :, ::-1], images)
        others, placed = thumbnails[found.other[some]], frames[found.frame[some]].copy()
        numbers = np.arange(start, start + len(images))
        for pixels, iterations, least in _PASSES:
            reached = _climb(padded(images), padded(others), placed, pixels, iterations)
            kept = reached > least
            images, others, placed, numbers = images[kept], others[kept], placed[kept], numbers[kept]
        colors = _views(padded(others, gray=False), placed, COMPARED)
        weights = np.repeat(_inside(placed, COMPARED), 3, axis=1)
        wanted = _views(padded(images, gray=False), np.tile(WHOLE, (len(images), 1)), COMPARED)
        alike = _correlation(colors, wanted, weights) > correlation
        alike &= _correlation(_details(colors), _details(wanted), weights) > _DETAILS
        pairs.append(np.stack([found.image[numbers[alike]], found.other[numbers[alike]]], 1))
    return np.concatenate(pairs)


def _climb(images: Pixels, others: Pixels, placed: Frames, pixels: int, iterations: int) -> NDArray[np.float32]:
    """Move the frames in place; return the correlations of the images with the others in these frames."""
    raw = _views(images, np.tile(WHOLE, (len(images), 1)), pixels)
    reached, view, wanted = _correlate(raw, others, placed, pixels)
    for _ in range(iterations):
        weights = _inside(placed, pixels)
        steps = _STEP * np.diag(_INWARD)
        slopes = np.stack([standardized(_views(others, placed + step, pixels), weights) - view for step in steps], 1)
        normal = slopes @ slopes.transpose(0, 2, 1) + _DAMPING * np.eye(4, dtype=np.float32)
        moves = np.linalg.solve(normal, slopes @ (wanted - view)[..., None])[..., 0]
        moved = placed + np.clip(moves * _INWARD * _STEP, -_FARTHEST, _FARTHEST)
        moved = np.clip(moved, _LOWEST, _HIGHEST)
        now, new_view, new_wanted = _correlate(raw, others, moved, pixels)
        better = now > reached
        placed[better], reached[better] = moved[better], now[better]
        view[better], wanted[better] = new_view[better], new_wanted[better]
    return reached


_INWARD = np.array([1, -1, 1, -1])  # the direction in which each edge stays inside
_LOWEST = np.array([-MARGIN, 1 - _CROPPED] * 2)
_HIGHEST = np.array([_CROPPED, 1 + MARGIN] * 2)


def _correlate(raw: Pixels, others: Pixels, placed: Frames, pixels: int) -> tuple[NDArray[np.float32], Pixels, Pixels]:
    """Return the correlations, and both sides standardized over the part of the frames within the others' edges."""
    weights = _inside(placed, pixels)
    view, wanted = standardized(_views(others, placed, pixels), weights), standardized(raw, weights)
    return (view * wanted).sum(-1), view, wanted


def _correlation(first: Pixels, second: Pixels, weights: Pixels) -> NDArray[np.float32]:
    found: NDArray[np.float32] = (standardized(first, weights) * standardized(second, weights)).sum(-1)
    return found


def _details(colors: Pixels) -> Pixels:
    from scipy.ndimage import uniform_filter

    pixels = colors.reshape(-1, 3, COMPARED, COMPARED)
    details: Pixels = (pixels - uniform_filter(pixels, (0, 0, _AROUND, _AROUND), mode="nearest")).reshape(colors.shape)
    return details


def _views(images: Pixels, placed: Frames, pixels: int) -> Pixels:
    """Return the images in their frames, shape (images, channels * pixels * pixels)."""
    across, down = resampling(placed[:, :2], pixels), resampling(placed[:, 2:], pixels)
    views: Pixels = np.matmul(np.matmul(down[:, None], images), across[:, None].transpose(0, 1, 3, 2))
    return views.reshape(len(images), -1)


def _inside(placed: Frames, pixels: int) -> Pixels:
    """Return 1 for the pixels of each frame that lie within the image, 0 for the others."""
    edges = divided(placed[:, :2], pixels), divided(placed[:, 2:], pixels)
    across, down = ((side[:, :-1] >= -1e-6) & (side[:, 1:] <= 1 + 1e-6) for side in edges)
    return (down[:, :, None] & across[:, None, :]).reshape(len(placed), -1).astype(np.float32)
