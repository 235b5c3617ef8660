"""Splits by product: exact shares, no shared product, no shared image bytes, and a check that can fail."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abo_vqa.catalog import stage as sample
from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import split_table
from abo_vqa.common.params.data import SplitParams
from abo_vqa.common.schema import SPLITS
from abo_vqa.generators import stage as generate
from abo_vqa.questions import stage as validate
from abo_vqa.questions.expectations import Guarded, refuse_failures, run_suite
from abo_vqa.splits import stage as split
from abo_vqa.splits.assign import assign_splits, overlap_columns
from paths import ROOT
from small_archives import images_tar, jpeg

PARAMS = SplitParams(validation=0.1, test=0.2, near_duplicate_bits=2, near_duplicate_correlation=0.98)


def products(count: int) -> dict[str, str]:
    return {f"B{number:04d}": f"image {number}" for number in range(count)}


def test_shares_are_exact():
    assert Counter(assign_splits(products(1000), PARAMS, 1).values()) == {
        "train": 700,
        "validation": 100,
        "test": 200,
    }
    assert Counter(assign_splits(products(11), PARAMS, 1).values()) == {
        "train": 8,
        "validation": 1,
        "test": 2,
    }


def test_the_split_depends_on_the_seed_and_not_on_the_order():
    images = products(200)
    backwards = dict(reversed(images.items()))
    assert assign_splits(images, PARAMS, 1) == assign_splits(backwards, PARAMS, 1)
    assert assign_splits(images, PARAMS, 1) != assign_splits(images, PARAMS, 2)


@given(st.lists(st.integers(0, 30), min_size=30, max_size=120), st.integers(0, 99))
@settings(max_examples=60)
def test_products_with_the_same_image_go_together(numbers, seed):
    images = {f"B{index}": f"image {number}" for index, number in enumerate(numbers)}
    try:
        splits = assign_splits(images, PARAMS, seed)
    except InputError:
        assert max(Counter(numbers).values()) > 1, "only groups can stand in the way"
        return
    assert splits.keys() == images.keys()
    by_image = {(images[product], name) for product, name in splits.items()}
    assert len(by_image) == len(set(images.values()))


def test_too_few_products_are_refused():
    with pytest.raises(InputError, match=r"2 products leave (validation|test) empty; raise sample\.products"):
        assign_splits(products(2), PARAMS, 1)


@pytest.mark.parametrize(
    ("rows", "expectation"),
    [
        ([("train", "1-0", "A", "x", 0), ("test", "2-0", "A", "y", 7)], "product_is_in_one_split"),
        ([("train", "1-0", "A", "x", 0), ("test", "2-0", "B", "x", 7)], "image_is_in_one_split"),
        ([("train", "1-0", "A", "x", 0), ("train", "1-0", "A", "x", 0)], "question_is_in_one_split"),
        ([("train", "1-0", "A", "x", 0), ("test", "2-0", "B", "y", 3)], "near_duplicate_is_in_one_split"),
        ([("train", "1-0", "C", "x", 0), ("test", "2-0", "D", "y", 7)], "name_is_in_one_split"),
        ([("train", "1-0", "A", "x2", 0), ("test", "2-0", "B", "y2", 7)], "image_group_is_in_one_split"),
    ],
)
def test_the_suite_refuses_an_overlap(rows, expectation):
    table = overlap_columns(
        (
            (
                name,
                {
                    "qa_id": key,
                    "product_id": product,
                    "image_sha256": image,
                    "image_phash": f"{phash:016x}",
                    "image_group": image[1:] or f"{name} {image}",
                },
            )
            for name, key, product, image, phash in rows
        ),
        {"C": "chair", "D": "chair"},
    )
    found = run_suite(Guarded(ROOT / "expectations/splits.json", table, "qa_id", {"near_duplicate_bits": 2}))
    # A product in two splits has its name in both.
    also = {"name_is_in_one_split"} if expectation == "product_is_in_one_split" else set()
    assert {name for name, outcome in found.items() if not outcome.success} == {expectation} | also
    with pytest.raises(InputError, match=f"{expectation} fails on 2 rows"):
        refuse_failures(found, dict.fromkeys(table["qa_id"], "row"), "splits")


def test_the_four_stages_from_archives_to_splits_twice_to_the_byte(workspace: Callable[..., Path]):
    folder = workspace(60)
    # Two products with the same bytes under different ids.
    images = {number: jpeg(number) for number in range(60)} | {41: jpeg(40)}
    images_tar(folder / "data/abo-images-small.tar", images)
    made = []
    for _ in range(2):
        for stage in (sample, generate, validate, split):
            stage.main()
        files = sorted(path for room in ("tables", "reports") for path in Path(room).rglob("*.*"))
        made.append({str(path): path.read_bytes() for path in files})
    assert made[0] == made[1]
    assert not any(str(folder).encode() in data for data in made[0].values()), "no absolute path in any file"
    questions = {row["qa_id"]: row for row in pq.read_table(validate.QUESTIONS).to_pylist()}
    where: dict[str, set[str]] = {}
    for name in SPLITS:
        for row in pq.read_table(split_table(name)).to_pylist():
            where.setdefault(row["product_id"], set()).add(name)
            image_hash = row.pop("image_sha256")
            assert len(row.pop("image_phash")) == 16 and row.pop("image_group") <= image_hash
            assert (row.pop("matched_options") is not None) == row.pop("balanced")
            assert len(image_hash) == 64 and questions.pop(row["qa_id"]) == row
    assert not questions, "every clean question is in a split"
    assert all(len(names) == 1 for names in where.values())
    assert where["B000000040@amazon.com"] == where["B000000041@amazon.com"]
    report = json.loads(split.REPORT.read_text())
    assert [report[name]["products"] for name in SPLITS] == [48, 6, 6]
    assert all(sum(part["by_type"].values()) == part["questions"] for part in report.values())
