"""Perceptual hashes of images, and groups of close ones."""

import io
import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from abo_vqa.catalog import stage as sample
from abo_vqa.common.layout import split_table
from abo_vqa.common.params import read_params
from abo_vqa.common.storage import decode_image
from abo_vqa.generators import stage as generate
from abo_vqa.questions import stage as validate
from abo_vqa.splits import stage as split
from abo_vqa.splits.assign import assign_splits
from abo_vqa.splits.crops import crop_pairs
from abo_vqa.splits.names import listed_names, split_groups
from abo_vqa.splits.near_duplicates import least_distances, near_duplicate_groups, perceptual_hash
from abo_vqa.splits.pixels import SIDE, equal_frames, thumbnail
from small_archives import images_tar, jpeg, real_data


def picture(kind: int, quality: int = 90, color: str = "navy") -> bytes:
    drawn = Image.new("RGB", (200, 160), "white")
    pen = ImageDraw.Draw(drawn)
    for place in range(4):
        x, y = 20 + place * 40, 10 + (kind * (place + 3) * 17) % 100
        pen.ellipse((x, y, x + 30, y + 40), fill=color if (kind >> place) & 1 else "black")
    packed = io.BytesIO()
    drawn.save(packed, "JPEG", quality=quality)
    return packed.getvalue()


def test_a_copy_saved_anew_is_close_and_another_picture_is_not():
    first, copy, other = map(perceptual_hash, map(decode_image, (picture(5), picture(5, 40), picture(9))))
    assert (first ^ copy).bit_count() <= 2 < 8 < (first ^ other).bit_count()
    assert 0 <= first < 2**64


def noise(bits: int) -> np.ndarray:
    """Thumbnails that correlate with no other's."""
    return np.random.default_rng(bits).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)


def grouped(hashes: dict[str, int], bits: int) -> dict[str, str]:
    return near_duplicate_groups(hashes, {name: noise(number) for number, name in enumerate(hashes)}, bits, 0.98)


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 255), max_size=40), st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_groups_are_what_close_pairs_connect(hashes, bits):
    images = {f"{number:03d}": value for number, value in enumerate(hashes)}
    groups = grouped(images, bits)
    assert groups.keys() == images.keys()
    expected = {name: {name} for name in images}
    changed = True
    while changed:
        changed = False
        for a, first in images.items():
            for b, second in images.items():
                if (first ^ second).bit_count() <= bits and expected[a] != expected[b]:
                    joined = expected[a] | expected[b]
                    expected |= dict.fromkeys(joined, joined)
                    changed = True
    assert groups == {name: min(group) for name, group in expected.items()}


def test_a_thousand_hashes_take_several_blocks():
    rng = np.random.default_rng(1)
    hashes = [int(value) for value in rng.integers(0, 2**63, 1100)]
    images = {f"{number:04d}": value for number, value in enumerate([*hashes, hashes[1090] ^ 1, hashes[3] ^ (1 << 63)])}
    groups = grouped(images, 1)
    assert groups["1100"] == "1090" and groups["1101"] == "0003" and len(set(groups.values())) == 1100
    assert least_distances(hashes, hashes[:-1]).tolist() == [
        *[0] * 1099, min((hashes[-1] ^ other).bit_count() for other in hashes[:-1])
    ]  # fmt: skip
    assert least_distances([7], []).tolist() == [64]


def photograph(seed: int, tint: tuple[int, int, int] = (0, 0, 0)) -> Image.Image:
    """A picture of many shapes that no other seed has."""
    rng = np.random.default_rng(seed)
    drawn = Image.new("RGB", (256, 200), tuple(int(value) for value in rng.integers(120, 256, 3)))
    pen = ImageDraw.Draw(drawn)
    for _ in range(14):
        x, y, width, height = rng.integers((0, 0, 20, 20), (230, 180, 90, 80))
        color = tuple(
            int(np.clip(value + shift, 0, 255)) for value, shift in zip(rng.integers(0, 256, 3), tint, strict=True)
        )
        getattr(pen, "ellipse" if rng.random() < 0.5 else "rectangle")((x, y, x + width, y + height), fill=color)
    return drawn


def saved(image: Image.Image, quality: int) -> Image.Image:
    packed = io.BytesIO()
    image.save(packed, "JPEG", quality=quality)
    return decode_image(packed.getvalue())


def crop(image: Image.Image, left: float, right: float, top: float, bottom: float) -> Image.Image:
    width, height = image.size
    return image.crop((int(left * width), int(top * height), int(right * width), int(bottom * height)))


def shift(image: Image.Image, x: float, y: float) -> Image.Image:
    moved = Image.new("RGB", image.size, "white")
    moved.paste(image, (round(x * image.width), round(y * image.height)))
    return moved


TWINS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved anew": lambda image: image,
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "a tenth cropped": lambda image: crop(image, 0.05, 0.95, 0.05, 0.95),
    "a fifth cropped off a corner": lambda image: crop(image, 0, 0.8, 0.2, 1),
    "cropped unevenly": lambda image: crop(image, 0.12, 0.97, 0.03, 0.88),
    "cropped and mirrored": lambda image: crop(image, 0.1, 0.95, 0, 0.87).transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "shifted": lambda image: shift(image, 0.03, -0.04),
    "in gray": lambda image: image.convert("L").convert("RGB"),
}


@pytest.mark.parametrize("kind", TWINS)
def test_a_twin_of_another_frame_or_color_joins_the_group_of_its_photograph_alone(kind: str):
    originals = [photograph(seed) for seed in range(30)]
    twins = [saved(TWINS[kind](image), 60 + 3 * number) for number, image in enumerate(originals[:10])]
    names = [f"{number:02d}" for number in range(40)]
    seen = dict(zip(names, map(thumbnail, [*originals, *twins]), strict=True))
    groups = near_duplicate_groups(
        dict(zip(names, map(perceptual_hash, [*originals, *twins]), strict=True)), seen, 2, 0.98
    )
    together = {frozenset(name for name in names if groups[name] == group) for group in groups.values()}
    expected = {frozenset({f"{number:02d}", f"{30 + number}"}) for number in range(10)}
    assert together == expected | {frozenset({name}) for name in names[10:30]}


def test_other_crops_of_one_scene_are_not_twins():
    seen = np.stack(
        [thumbnail(crop(photograph(seed), *part)) for seed in range(8) for part in ((0, 0.5, 0, 1), (0.5, 1, 0, 1))]
    )
    assert len(crop_pairs(seen, 0.98)) == len(equal_frames(seen, 0.98)) == 0


def test_all_pairs_above_the_correlation_are_found_as_they_are_and_mirrored():
    rng = np.random.default_rng(3)
    base = np.stack([thumbnail(photograph(seed)) for seed in range(25)])
    noisy = np.clip(base + rng.normal(0, rng.uniform(5, 60, (25, 1, 1, 1)), base.shape), 0, 255).astype(np.uint8)
    seen = np.concatenate([base, noisy, noisy[:, :, ::-1]])
    gray = seen.reshape(75, 32, 2, 32, 2, 3).mean((2, 4)) @ [0.299, 0.587, 0.114]
    plain, mirror = (
        part.reshape(75, -1) - part.reshape(75, -1).mean(1, keepdims=True) for part in (gray, gray[:, :, ::-1])
    )
    plain, mirror = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (plain, mirror))
    for correlation in (0.9, 0.98):
        found = {tuple(sorted(pair)) for pair in equal_frames(seen, correlation).tolist()}
        likeness = np.maximum(plain @ plain.T, plain @ mirror.T)
        sure = {pair for pair in itertools.combinations(range(75), 2) if likeness[pair] > correlation + 1e-5}
        assert sure <= found and all(likeness[pair] > correlation - 1e-5 for pair in found)
        assert any(a < 25 <= b < 50 for a, b in found) and any(b >= 50 for _, b in found)


def test_equal_plain_and_few_pictures_are_no_error():
    plain = np.full((3, SIDE, SIDE, 3), 255, np.uint8)
    assert len(crop_pairs(plain[:1], 0.98)) == len(equal_frames(plain[:1], 0.98)) == 0
    assert crop_pairs(plain, 0.98).shape[1] == equal_frames(plain, 0.98).shape[1] == 2


def test_near_duplicates_go_to_one_split(workspace: Callable[..., Path]):
    folder = workspace(60)
    images = {number: jpeg(number) for number in range(60)}
    # Twelve pictures of the same thing at other qualities: other bytes each, and too many to be together by chance.
    alike = range(20, 32)
    images |= {number: picture(5, quality=60 + number) for number in alike}
    images_tar(folder / "data/abo-images-small.tar", images)
    for stage in (sample, generate, validate, split):
        stage.main()
    rows = {
        row["product_id"]: (name, row)
        for name in ("train", "validation", "test")
        for row in pq.read_table(split_table(name)).to_pylist()
    }
    together = [rows[f"B{number:09d}@amazon.com"] for number in alike]
    assert len({row["image_sha256"] for _, row in together}) == 12
    assert len({row["image_group"] for _, row in together}) == 1 == len({name for name, _ in together})
    assert '"largest_image_group": 12' in split.REPORT.read_text()


@pytest.mark.slow
def test_no_name_and_no_near_pixels_of_4000_real_products_are_in_train_and_test(workspace: Callable[..., Path]):
    folder = real_data()
    archives = {
        name: str(folder / f"archives/abo-{file}.tar")
        for name, file in (("listings", "listings"), ("images", "images-small"))
    }
    workspace(1, sample=archives | {"products": 4000}, split={"test": 0.2})
    params = read_params()
    sample.main()
    rows = pq.read_table(sample.SAMPLE, columns=["product_id", "brand", "item_name", "image"]).to_pylist()
    images = split._images({row["product_id"] for row in rows}, params.split)
    grouped = split_groups({name: image["image_group"] for name, image in images.items()}, listed_names(rows))
    splits = assign_splits(grouped, params.split, params.seed)
    names, pixels = {}, {}
    for part in ("train", "test"):
        chosen = [row for row in rows if splits[row["product_id"]] == part]
        names[part] = {" ".join(row["item_name"].lower().split()) for row in chosen}
        gray = np.array(
            [
                np.asarray(decode_image(row["image"]["bytes"]).convert("L").resize((32, 32)), float).ravel()
                for row in chosen
            ]
        )
        gray -= gray.mean(1, keepdims=True)
        pixels[part] = gray / np.maximum(np.linalg.norm(gray, axis=1, keepdims=True), 1e-9)
    assert names["train"] & names["test"] == set()
    assert (pixels["test"] @ pixels["train"].T).max() <= 0.98
    assert max(Counter(grouped.values()).values()) <= 60
