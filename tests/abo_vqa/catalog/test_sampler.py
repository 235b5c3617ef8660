"""The three-stage sampler: exact, capped, independent of order, and honest about shortfalls."""

import gzip
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abo_vqa.catalog import stage as sample
from abo_vqa.catalog.archives import read_listings
from abo_vqa.catalog.images import ImageArchive
from abo_vqa.catalog.listing import FACTS
from abo_vqa.catalog.pool import candidates, is_amazonbasics, is_shoes
from abo_vqa.catalog.profile import Distribution
from abo_vqa.catalog.sampler import (
    ADJUSTED,
    BASICS_CAP,
    COLOR_FIRST,
    RARE_TYPES,
    SHOES_CAP,
    SQUARE_ROOT,
    STRATIFIED,
    TOP_TYPES,
    Draw,
    Sampler,
)
from abo_vqa.catalog.shard import strata
from abo_vqa.common.draws import allocate, derive_seed, derive_seeds
from abo_vqa.common.errors import InputError
from abo_vqa.common.params.data import SampleParams, SampleShares
from abo_vqa.generators import stage as generate
from small_archives import image_path, images_tar, jpeg, listing, listings_tar, record, write_tar

Row = dict[str, Any]


def params(size: int, **changes: object) -> SampleParams:
    values = {
        "listings": "l.tar",
        "images": "i.tar",
        "products": size,
        "reference_size": 12000,
        "shares": SampleShares(stratified=0.6, top_types=0.3, rare_types=0.1),
        "strata": 50,
        "stratum_text": ["product_type", "brand", "color", "material"],
        "amazonbasics_cap": 12000,
        "shoes_cap": 12000,
        "top_types": 5,
        "rare_outside": 8,
        "max_malformed_lines": 0.01,
        "max_damaged_shards": 0,
        "max_unreadable_images": 0.01,
    }
    return SampleParams(**(values | changes))


def facts_of(number: int, **changes: str | None) -> Row:
    """The facts of a listing, as a pool has them."""
    found = listing(number, **changes)
    facts = {name: getattr(found, name) for name in FACTS}
    return facts | {"product_id": found.product_id, "image_path": image_path(number)}


def table_of(rows: list[Row]) -> pa.Table:
    names = (*FACTS, "product_id", "image_path")
    return pa.Table.from_pylist(rows, schema=pa.schema([(name, pa.string()) for name in names]))


def pool_of(numbers: list[tuple[int, bool, bool]]) -> pa.Table:
    """The facts of a pool from (type number, has a colour, is AmazonBasics)."""
    return table_of(
        [
            facts_of(
                index,
                product_type="SHOES" if kind == 0 else f"TYPE{kind}",
                color="red" if colored else None,
                brand="Amazon Basics" if basics else "Rivet",
            )
            for index, (kind, colored, basics) in enumerate(numbers)
        ]
    )


def every(_: int) -> bool:
    return True


def draw_sample(
    pool: pa.Table,
    wanted: SampleParams,
    seed: int,
    usable: Callable[[int], bool] = every,
    without: Collection[str] = (),
) -> Draw:
    return Sampler(with_strata(pool, wanted), wanted, seed).draw(usable, without)


def with_strata(pool: pa.Table, wanted: SampleParams) -> pa.Table:
    """The facts as a pool has them: hashed by shards."""
    texts = [pool[fact].to_pylist() for fact in wanted.stratum_text]
    return pool.append_column("stratum", pa.array(strata(texts, len(pool))))


def drawn(pool: pa.Table, draw: Draw, *stages: str) -> list[Row]:
    """The products drawn, or those drawn in some stages only."""
    rows = zip(pool.take(list(draw.stages)).to_pylist(), draw.stages.values(), strict=True)
    return [row | {"stage": stage} for row, stage in rows if not stages or stage in stages]


def kinds_of(products: list[Row]) -> Counter[str]:
    return Counter(row["product_type"] for row in products)


def basics_of(products: list[Row]) -> int:
    return sum(is_amazonbasics(row["brand"]) for row in products)


def shoes_of(products: list[Row]) -> int:
    return sum(is_shoes(row["product_type"]) for row in products)


# A long tail: type k has about 120 / (k + 1) products.
TAIL = pool_of([(k, i % 5 != 0, i % 3 == 0) for k in range(40) for i in range(max(3, 120 // (k + 1)))])
POOLS = st.lists(st.tuples(st.integers(0, 14), st.booleans(), st.booleans()), min_size=1, max_size=80)


@given(kinds=POOLS, share=st.floats(0.05, 1), seed=st.integers(0, 9), order=st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_a_sample_is_exact_without_repeats_and_blind_to_order(kinds, share, seed, order):
    pool = pool_of(kinds)
    wanted = params(max(1, int(len(pool) * share)))
    draw = draw_sample(pool, wanted, seed)
    assert len(draw.stages) == wanted.products
    assert list(draw.stages) == sorted(draw.stages)
    assert sum(draw.wanted.values()) == wanted.products
    places = list(range(len(pool)))
    order.shuffle(places)
    again = draw_sample(pool.take(places), wanted, seed)
    assert {places[place]: stage for place, stage in again.stages.items()} == draw.stages


@given(
    kinds=POOLS,
    bad=st.sets(st.integers(0, 79)),
    caps=st.tuples(st.integers(0, 30), st.integers(0, 30)),
    seed=st.integers(0, 9),
)
@settings(max_examples=60)
def test_caps_hold_and_unreadable_images_are_replaced_or_the_reason_is_named(kinds, bad, caps, seed):
    pool = pool_of(kinds)
    size = max(1, len(pool) // 2)
    asked: Counter[int] = Counter()

    def usable(place: int) -> bool:
        asked[place] += 1
        return place not in bad

    wanted = params(size, amazonbasics_cap=caps[0], shoes_cap=caps[1], reference_size=size)
    try:
        draw = draw_sample(pool, wanted, seed, usable)
    except InputError as error:
        assert "sample.products" in str(error)
        assert len(set(range(len(pool))) - bad) < size or "sample.amazonbasics_cap" in str(error)
        return
    assert len(draw.stages) == size
    assert not set(draw.stages) & bad
    assert draw.unreadable == sorted(set(asked) & bad)
    assert max(asked.values()) == 1
    assert basics_of(drawn(pool, draw, STRATIFIED)) <= caps[0]
    assert shoes_of(drawn(pool, draw, TOP_TYPES)) <= caps[1]


def test_the_three_stages_draw_what_the_paper_says():
    draw = draw_sample(TAIL, params(200), 1)
    assert Counter(draw.stages.values()) == draw.wanted == {STRATIFIED: 120, TOP_TYPES: 60, RARE_TYPES: 20}
    assert not any(draw.shortfall.values())
    kinds = kinds_of(TAIL.to_pylist())
    ordered = sorted(kinds, key=lambda name: (-kinds[name], name))
    assert set(kinds_of(drawn(TAIL, draw, TOP_TYPES))) <= set(ordered[:5])
    assert set(kinds_of(drawn(TAIL, draw, RARE_TYPES))) <= set(ordered[8:])
    with_color = [row["color"] is not None for row in drawn(TAIL, draw, STRATIFIED)]
    assert all(with_color), "there are enough listings with a colour"


def test_caps_scale_with_the_sample_and_round_up():
    draw = draw_sample(TAIL, params(100, amazonbasics_cap=1201, shoes_cap=701), 1)
    assert basics_of(drawn(TAIL, draw, STRATIFIED)) == 11 and shoes_of(drawn(TAIL, draw, TOP_TYPES)) == 6


ONLY_FIRST = SampleShares(stratified=1.0, top_types=0.0, rare_types=0.0)


def test_square_root_allocation_holds_the_crowd_back():
    # 900 look-alikes against 100 that differ: shares 900 : 100 become 30 : 10 over the two strata.
    crowd = [facts_of(i, product_type="A", color="red", brand=None, material=None) for i in range(900)]
    crowd += [facts_of(i, product_type="B", color="blue", brand=None, material=None) for i in range(900, 1000)]
    pool = table_of(crowd)
    draw = draw_sample(pool, params(40, shares=ONLY_FIRST, strata=10**6), 3)
    assert kinds_of(drawn(pool, draw)) == {"A": 30, "B": 10}


def test_stage_two_allows_for_what_stage_one_took():
    shares = SampleShares(stratified=0.5, top_types=0.5, rare_types=0.0)
    pool = pool_of([(1, True, False)] * 80 + [(2, True, False)] * 40)
    draw = draw_sample(pool, params(60, shares=shares, strata=10**6), 3)
    # Stage 1 gives sqrt(80) : sqrt(40); both together follow 80 : 40.
    assert abs(kinds_of(drawn(pool, draw))["TYPE1"] - 40) <= 1


def test_without_a_rule_the_same_seed_draws_what_the_rule_held_back():
    wanted = params(200, amazonbasics_cap=600, shoes_cap=300)
    sampler = Sampler(with_strata(TAIL, wanted), wanted, 1)
    with_all = sampler.draw(every)

    def within(stage: str, *without: str) -> list[Row]:
        return drawn(TAIL, sampler.draw(every, without) if without else with_all, stage)

    def colorless(products: list[Row]) -> int:
        return sum(row["color"] is None for row in products)

    assert basics_of(within(STRATIFIED)) == 10 < basics_of(within(STRATIFIED, BASICS_CAP))
    assert shoes_of(within(TOP_TYPES)) == 5 < shoes_of(within(TOP_TYPES, SHOES_CAP))
    assert colorless(within(STRATIFIED)) == 0 < colorless(within(STRATIFIED, COLOR_FIRST))
    assert within(RARE_TYPES, RARE_TYPES) == [] == within(TOP_TYPES, TOP_TYPES)
    assert len(sampler.draw(every, (TOP_TYPES, RARE_TYPES)).stages) == 200
    assert sampler.draw(every) == with_all, "a draw leaves nothing behind"


def test_without_the_square_root_the_crowd_is_drawn_as_it_is():
    pool = pool_of([(1, True, False)] * 90 + [(2, True, False)] * 10)
    draw = draw_sample(pool, params(20, shares=ONLY_FIRST, strata=10**6), 3, without=(SQUARE_ROOT,))
    assert kinds_of(drawn(pool, draw)) == {"TYPE1": 18, "TYPE2": 2}


def test_without_the_adjustment_stage_two_follows_the_frequencies_alone():
    shares = SampleShares(stratified=0.5, top_types=0.5, rare_types=0.0)
    pool = pool_of([(1, True, False)] * 80 + [(2, True, False)] * 40)
    draw = draw_sample(pool, params(60, shares=shares, strata=10**6), 3, without=(ADJUSTED,))
    assert kinds_of(drawn(pool, draw, TOP_TYPES)) == {"TYPE1": 20, "TYPE2": 10}


def test_the_facts_of_the_stratum_are_a_parameter():
    # 90 of one colour and 10 of another: two strata, drawn 3 : 1, only where the colour is in the text.
    pool = table_of(
        [
            facts_of(i, product_type="A", color="red" if i < 90 else "blue", brand=None, material=None)
            for i in range(100)
        ]
    )

    def reds(facts: list[str]) -> int:
        draw = draw_sample(pool, params(20, shares=ONLY_FIRST, strata=10**6, stratum_text=facts), 3)
        return sum(row["color"] == "red" for row in drawn(pool, draw))

    assert reds(["product_type", "color"]) == 15
    assert reds(["product_type"]) > 15


def test_what_the_caps_keep_from_stage_one_the_other_stages_fill():
    # AmazonBasics only: stage 1 may take two of them, stage 2 may take all.
    pool = pool_of([(1, True, True)] * 30)
    draw = draw_sample(pool, params(20, amazonbasics_cap=2, reference_size=20), 1)
    assert Counter(draw.stages.values()) == {STRATIFIED: 2, TOP_TYPES: 18}
    assert draw.shortfall == {STRATIFIED: 10, TOP_TYPES: 0, RARE_TYPES: 2}


@given(kinds=POOLS, caps=st.tuples(st.integers(0, 9), st.integers(0, 9)), seed=st.integers(0, 9))
@settings(max_examples=60)
def test_all_of_the_pool_is_refused_only_for_the_sake_of_the_amazonbasics_cap(kinds, caps, seed):
    pool = pool_of(kinds)
    wanted = params(len(pool), amazonbasics_cap=caps[0], shoes_cap=caps[1], reference_size=len(pool))
    try:
        assert len(draw_sample(pool, wanted, seed).stages) == len(pool)
    except InputError as error:
        assert f"sample.amazonbasics_cap (here {caps[0]})" in str(error) and "sample.shoes_cap" in str(error)
        assert basics_of(pool.to_pylist()) > caps[0]


def test_the_shortfall_of_a_small_catalogue_is_filled_and_reported():
    pool = pool_of([(k % 4, True, False) for k in range(50)])
    draw = draw_sample(pool, params(40), 1)
    assert draw.shortfall[RARE_TYPES] == 4 and draw.shortfall[STRATIFIED] == 0
    assert len(draw.stages) == 40


def test_another_seed_is_another_sample():
    assert draw_sample(TAIL, params(100), 1).stages.keys() != draw_sample(TAIL, params(100), 2).stages.keys()


def test_a_pool_smaller_than_the_sample_is_refused():
    with pytest.raises(InputError, match=r"sample\.products is 51, but only 50 products"):
        draw_sample(pool_of([(1, True, False)] * 50), params(51), 1)


def test_one_listing_per_key_and_image_is_a_candidate(tmp_path: Path):
    rows = [
        record(1),
        record(2, main_image_id="img1"),
        record(3, main_image_id=None),
        record(4, main_image_id="lost"),
        record(5),
        record(5, color="pink"),
        record(5, color="grey"),
        record(6, main_image_id="img1 again"),
    ]
    table = f"image_id,path\nimg1,{image_path(1)}\nimg5,{image_path(5)}\nimg1 again,{image_path(1)}\n"
    members = [("images/metadata/images.csv.gz", gzip.compress(table.encode()))]
    members += [(f"images/small/{image_path(number)}", jpeg(number)) for number in (5, 1)]
    archive = write_tar(tmp_path / "i.tar", members)
    for order in (rows, rows[::-1]):
        with ImageArchive(archive) as images:
            read = read_listings(listings_tar(tmp_path / "l.tar", order))
            pool, left_out = candidates(read.listings, images)
            assert [(row.item_id, row.color) for row in read.listings.read(pool.rows)] == [
                ("B000000001", "Blue"),
                ("B000000005", "Red"),
            ]
            assert [images.path_at(int(place)) for place in pool.images] == [image_path(1), image_path(5)]
            assert pool.facts["product_id"].to_pylist() == ["B000000001@amazon.com", "B000000005@amazon.com"]
            assert [images.read_at(int(place)) for place in pool.images] == [jpeg(1), jpeg(5)]
            assert left_out == {"duplicate_key": 2, "without_image": 1, "unknown_image": 1, "duplicate_image": 2}


@given(total=st.integers(0, 500), parts=st.lists(st.integers(1, 99), min_size=1, max_size=6))
def test_allocation_adds_up_and_stays_within_one(total, parts):
    shares = [part / sum(parts) for part in parts]
    counts = allocate(total, shares)
    assert sum(counts) == total
    assert all(abs(count - total * share) < 1 + 1e-6 for count, share in zip(counts, shares, strict=True))


def test_the_stage_writes_images_and_the_same_bytes_from_shuffled_shards(workspace: Callable[..., Path]):
    folder = workspace(60, sample={"products": 40})
    sample.main()
    first = sample.SAMPLE.read_bytes(), sample.REPORT.read_bytes()
    listings_tar(folder / "data/abo-listings.tar", [record(number) for number in reversed(range(60))])
    sample.main()
    assert (sample.SAMPLE.read_bytes(), sample.REPORT.read_bytes()) == first

    from datasets import Dataset

    rows = Dataset.from_parquet(str(sample.SAMPLE), cache_dir=str(folder / "cache"))
    assert len(rows) == 40 and rows[0]["image"].size == (24, 20)
    stored = pq.read_table(sample.SAMPLE).to_pylist()
    assert [row["product_id"] for row in stored] == sorted(row["product_id"] for row in stored)
    for row in stored:
        assert row["image"]["bytes"] == jpeg(int(row["image_id"].removeprefix("img")))
    assert set(generate.COLUMNS) | {"stage", "image"} == set(stored[0])


def test_the_stage_reports_the_dirt_and_replaces_unreadable_images(workspace: Callable[..., Path]):
    folder = workspace(20, sample={"products": 15, "max_malformed_lines": 0.05, "max_unreadable_images": 0.07})
    lines = [record(number) for number in range(20)]
    lines[0] = record(0, main_image_id=None)
    lines[1] = record(1, main_image_id="lost")
    lines[2] = record(2, main_image_id="img3")
    lines[19] = b"{broken"
    images = {number: jpeg(number) for number in range(20)}
    images[7] = images[7][:300]
    listings_tar(folder / "data/abo-listings.tar", lines)
    images_tar(folder / "data/abo-images-small.tar", images)
    sample.main()
    report = json.loads(sample.REPORT.read_text())
    assert report["archives"]["malformed"] == [
        {"shard": "listings_3.json.gz", "line": 2, "problem": report["archives"]["malformed"][0]["problem"]}
    ]
    assert report["pool"] == {
        "products": 16,
        "left_out": {"duplicate_key": 0, "without_image": 1, "unknown_image": 1, "duplicate_image": 1},
    }
    assert [entry["image_path"] for entry in report["unreadable_images"]] == [image_path(7)]
    assert "truncated" in report["unreadable_images"][0]["problem"].lower()
    assert report["after"]["products"] == 15


@pytest.mark.parametrize("parameter", ["max_malformed_lines", "max_unreadable_images", "max_damaged_shards"])
def test_more_dirt_than_a_parameter_allows_stops_the_stage_and_keeps_what_was_made(
    workspace: Callable[..., Path], parameter: str
):
    limits = {"max_malformed_lines": 0.1, "max_unreadable_images": 0.2, "max_damaged_shards": 1}
    folder = workspace(20, sample={"products": 17} | limits)
    listings_tar(folder / "data/abo-listings.tar", [*(record(number) for number in range(19)), b"{broken"], {"2": 0.9})
    images_tar(folder / "data/abo-images-small.tar", {n: jpeg(n)[: 300 if n == 7 else None] for n in range(20)})
    sample.main()
    before = sample.SAMPLE.read_bytes(), sample.REPORT.read_bytes()
    params_file = folder / "params.yaml"
    params_file.write_text(params_file.read_text().replace(f"{parameter}: {limits[parameter]}", f"{parameter}: 0"))
    named = {
        "max_malformed_lines": "listings_3.json.gz line 2",
        "max_unreadable_images": image_path(7),
        "max_damaged_shards": "listings_2.json.gz after 1 lines",
    }
    with pytest.raises(InputError, match=rf"{re.escape(named[parameter])}.*sample\.{parameter}: 0"):
        sample.main()
    assert (sample.SAMPLE.read_bytes(), sample.REPORT.read_bytes()) == before


def test_the_report_counts_before_after_and_the_effect_of_every_rule(workspace: Callable[..., Path]):
    folder = workspace(60, sample={"products": 30, "reference_size": 30, "amazonbasics_cap": 3, "rare_outside": 3})
    lines = [
        record(n, brand="AmazonBasics" if n % 2 else "Rivet", color=None if n % 3 == 0 else "Red") for n in range(60)
    ]
    listings_tar(folder / "data/abo-listings.tar", lines)
    sample.main()
    report = json.loads(sample.REPORT.read_text())
    assert {stage: entry["share"] for stage, entry in report["stages"].items()} == {
        STRATIFIED: 0.6,
        TOP_TYPES: 0.3,
        RARE_TYPES: 0.1,
    }
    assert report["before"]["concerned"]["amazonbasics"] == 30 and report["before"]["concerned"]["colorless"] == 20
    assert report["before"]["brand"]["entropy"] == 1 and report["before"]["brand"]["gini"] == 0
    assert report["after"]["color"]["missing"] == report["after"]["concerned"]["colorless"]
    assert report["rules"]["amazonbasics_cap"]["amazonbasics"] < 0
    assert report["rules"]["color_first"]["colorless"] < 0
    assert report["rules"]["rare_types"]["rare_types"] > 0
    assert report["rules"]["shoes_cap"] == dict.fromkeys(report["rules"]["shoes_cap"], 0), "there are no shoes"
    plots = {path.name: path.read_text() for path in sample.PLOTS.iterdir()}
    assert plots.keys() == {"product_type.svg", "brand.svg", "color.svg", "rules.svg"}
    assert "AmazonBasics" in plots["brand.svg"] and "SHOES cap" in plots["rules.svg"]


@given(counts=st.lists(st.integers(1, 50), min_size=1, max_size=30))
def test_entropy_and_gini_are_those_of_the_textbook(counts: list[int]):
    found = Distribution(Counter({str(number): count for number, count in enumerate(counts)}), 0)
    total, n = sum(counts), len(counts)
    if n > 1:
        assert found.entropy == pytest.approx(-sum(c / total * math.log(c / total, n) for c in counts))
    assert found.gini == pytest.approx(sum(abs(a - b) for a in counts for b in counts) / (2 * n * total))
    assert sum(found.share(value) for value in found.counts) == pytest.approx(1)


def test_seeds_derived_together_are_those_derived_alone():
    names = ["B1@amazon.com", "", "ü"]
    assert derive_seeds(7, "sample", 3, last=names).tolist() == [derive_seed(7, "sample", 3, name) for name in names]


def test_a_failing_stage_keeps_what_was_made(workspace: Callable[..., Path]):
    folder = workspace(20)
    sample.main()
    before = sample.SAMPLE.read_bytes()
    archive = folder / "data/abo-images-small.tar"
    archive.write_bytes(archive.read_bytes()[:9000])
    with pytest.raises(InputError, match=r"abo-images-small\.tar: truncated"):
        sample.main()
    assert sample.SAMPLE.read_bytes() == before
    assert [path.name for path in sample.SAMPLE.parent.iterdir()] == ["sample.parquet"]
