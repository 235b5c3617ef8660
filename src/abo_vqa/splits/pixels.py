"""Thumbnails of images, their parts in any frame, and all pairs that correlate as they are or mirrored.

A frame is (left, right, top, bottom), in shares of a thumbnail's sides; it may reach over the edge by at most MARGIN.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 64  # of a thumbnail
COMPARED = 32  # pixels per side in which images are compared
MARGIN = 0.125
WHOLE = (0.0, 1.0, 0.0, 1.0)

Thumbnails = NDArray[np.uint8]
Pixels = NDArray[np.float32]
Pairs = NDArray[np.int64]
Frames = NDArray[np.float64]

_GRAY = np.array([0.299, 0.587, 0.114], np.float32)
_PAD = round(SIDE * MARGIN)
_BAND = 8  # lowest frequencies per side of a sketch
_SEARCHED = 16  # coordinates of the search tree: more make its lookups slower, fewer let more false candidates through
_TOGETHER = 1024


def thumbnail(image: Image.Image) -> Thumbnails:
    """Return an RGB image as bytes of shape (SIDE, SIDE, 3); its aspect ratio is not kept."""
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))


def padded(thumbnails: Thumbnails, gray: bool = True) -> Pixels:
    """Return thumbnails as (images, channels, height, width), with the edge repeated for frames beyond it."""
    pixels = thumbnails.astype(np.float32)
    pixels = (pixels @ _GRAY)[:, None] if gray else pixels.transpose(0, 3, 1, 2)
    return np.pad(pixels, ((0, 0), (0, 0), (_PAD, _PAD), (_PAD, _PAD)), mode="edge")


def resampling(sides: Frames, pixels: int) -> Pixels:
    """Return matrices, shape (frames, pixels, padded side), that average one side of a frame to `pixels` values.

    sides: start and end of each frame's side, shape (frames, 2).
    """
    edges = (SIDE * divided(sides, pixels) + _PAD).astype(np.float32)
    source = np.arange(SIDE + 2 * _PAD, dtype=np.float32)
    covered = np.minimum(edges[:, 1:, None], source + 1) - np.maximum(edges[:, :-1, None], source)
    covered = np.clip(covered, 0, None)
    return covered / covered.sum(2, keepdims=True)


def divided(sides: Frames, pixels: int) -> Frames:
    """Return the edges, shape (frames, pixels + 1), of the pixels between start and end of each frame's side."""
    start, end = sides[:, :1], sides[:, 1:]
    return start + (end - start) * np.linspace(0, 1, pixels + 1)


def standardized(pixels: Pixels, weights: Pixels | None = None) -> Pixels:
    """Return rows of mean 0 and length 1, so that products of rows are correlations; constant rows become 0.

    weights: 0 or 1 for each value; those of 0 do not count.
    """
    weights = np.ones_like(pixels) if weights is None else weights
    mean = (pixels * weights).sum(-1, keepdims=True) / np.maximum(weights.sum(-1, keepdims=True), 1)
    centered = (pixels - mean) * weights
    return centered / np.maximum(np.linalg.norm(centered, axis=-1, keepdims=True), 1e-3)


def sketches(thumbnails: Thumbnails, frames: Frames) -> Pixels:
    """Return the lowest frequencies of each image in each frame, shape (frames, images, 63), of length 1."""
    across, down = (_cosines() @ resampling(sides, COMPARED) for sides in (frames[:, :2], frames[:, 2:]))
    found = np.empty((len(frames), len(thumbnails), _BAND**2 - 1), np.float32)
    for start in range(0, len(thumbnails), _TOGETHER):
        pixels = padded(thumbnails[start : start + _TOGETHER])[:, 0]
        for frame, (x, y) in enumerate(zip(across, down, strict=True)):
            found[frame, start : start + _TOGETHER] = (y @ pixels @ x.T).reshape(len(pixels), -1)[:, 1:]
    return found / np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), 1e-3)


def mirrored(sketch: Pixels) -> Pixels:
    """Return the sketches of the mirrored images: odd frequencies change their sign."""
    return sketch * np.tile(np.where(np.arange(_BAND) % 2, -1, 1), _BAND)[1:].astype(np.float32)


def equal_frames(thumbnails: Thumbnails, correlation: float) -> Pairs:
    """Return all pairs of images whose gray pixels correlate more than that, as they are or one of them mirrored."""
    whole = _compared(thumbnails)
    found = [np.zeros((0, 2), np.int64)]
    for candidates, others in _close(whole, correlation):
        for start in range(0, len(candidates), _TOGETHER * 16):
            some = candidates[start : start + _TOGETHER * 16]
            correlations = np.einsum("ij,ij->i", whole[some[:, 0]], others[some[:, 1]])
            found.append(some[correlations > correlation])
    return np.concatenate(found)


def _compared(thumbnails: Thumbnails) -> Pixels:
    pixels = thumbnails.reshape(len(thumbnails), COMPARED, SIDE // COMPARED, COMPARED, SIDE // COMPARED, 3)
    return standardized((pixels.mean((2, 4), dtype=np.float32) @ _GRAY).reshape(len(thumbnails), -1))


def _close(whole: Pixels, correlation: float) -> Iterator[tuple[Pairs, Pixels]]:
    """Yield all pairs that may correlate so much, and the pixels of their second images: as they are, then mirrored.

    A pair's distance is sqrt(2 - 2 correlation), and no larger in some of the coordinates of an orthonormal basis. So a
    search tree over a few of them misses no pair.
    """
    from scipy.spatial import KDTree

    reflected = whole.reshape(-1, COMPARED, COMPARED)[:, :, ::-1].reshape(whole.shape)
    near = float(np.sqrt(2 * (1 - correlation)))
    cosines = _cosines()
    low = [
        (cosines @ pixels.reshape(-1, COMPARED, COMPARED) @ cosines.T).reshape(len(pixels), -1)
        for pixels in (whole, reflected)
    ]
    most_spread = np.argsort(-low[0].var(0), kind="stable")[:_SEARCHED]
    tree, other = (KDTree(part[:, most_spread]) for part in low)
    yield tree.query_pairs(near, output_type="ndarray").astype(np.int64).reshape(-1, 2), whole
    pairs = tree.sparse_distance_matrix(other, near, output_type="coo_matrix")
    mirror = np.stack([pairs.row, pairs.col], 1).astype(np.int64)
    yield mirror[mirror[:, 0] < mirror[:, 1]], reflected


def _cosines() -> Pixels:
    """Return the lowest frequencies of the orthonormal cosine transform, shape (_BAND, COMPARED)."""
    from scipy.fft import dct

    return dct(np.eye(COMPARED, dtype=np.float32), axis=0, norm="ortho")[:_BAND]
