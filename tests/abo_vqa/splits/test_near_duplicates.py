"""Perceptual hashes of images, and groups of close ones."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from abo_vqa.catalog import stage as sample
from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import split_table
from abo_vqa.generators import stage as generate
from abo_vqa.questions import stage as validate
from abo_vqa.splits import stage as split
from abo_vqa.splits.near_duplicates import least_distances, near_duplicate_groups, perceptual_hash
from small_archives import images_tar, jpeg


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
    first, copy, other = (perceptual_hash(data, "x") for data in (picture(5), picture(5, 40), picture(9)))
    assert (first ^ copy).bit_count() <= 2 < 8 < (first ^ other).bit_count()
    assert 0 <= first < 2**64


def test_a_damaged_image_is_named():
    with pytest.raises(InputError, match=r"aa/x\.jpg: its image cannot be read"):
        perceptual_hash(b"no image", "aa/x.jpg")
    with pytest.raises(InputError, match=r"aa/x\.jpg: its image cannot be read"):
        perceptual_hash(picture(1)[:-200], "aa/x.jpg")


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 255), max_size=40), st.integers(0, 4))
@settings(max_examples=80)
def test_groups_are_what_close_pairs_connect(hashes, bits):
    images = {f"{number:03d}": value for number, value in enumerate(hashes)}
    groups = near_duplicate_groups(images, bits)
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


def test_thousands_of_hashes_take_several_blocks():
    rng = np.random.default_rng(1)
    hashes = [int(value) for value in rng.integers(0, 2**63, 2500)]
    images = {f"{number:04d}": value for number, value in enumerate([*hashes, hashes[2400] ^ 1, hashes[3] ^ (1 << 63)])}
    groups = near_duplicate_groups(images, 1)
    assert groups["2500"] == "2400" and groups["2501"] == "0003" and len(set(groups.values())) == 2500
    assert least_distances(hashes, hashes[:-1]).tolist() == [
        *[0] * 2499, min((hashes[-1] ^ other).bit_count() for other in hashes[:-1])
    ]  # fmt: skip
    assert least_distances([7], []).tolist() == [64]


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
