"""The paper's sampler as its author ran it: caps in strata, replacements, and the counts of the paper's notebook."""

import importlib.util
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from abo_vqa.catalog import stage as sample
from abo_vqa.catalog.capped import FILLED, CappedSampler
from abo_vqa.catalog.paper import COUNTS, side_by_side
from abo_vqa.catalog.profile import distributions
from abo_vqa.catalog.sampler import RARE_TYPES, STRATIFIED, TOP_TYPES, Draw, Sampler
from abo_vqa.catalog.stratum_texts import read_stratum_texts
from abo_vqa.common.errors import InputError
from abo_vqa.common.params.data import CapsParams, SampleParams, SampleShares
from paths import ROOT
from small_archives import listings_tar, record

CAPS = CapsParams(product_type={"CASE": 20, "SHOES": 40}, brand={"Big Brand": 30}, color={"missing": 40})


def params(size: int = 240, **changes: Any) -> SampleParams:
    values = {
        "listings": "l.tar", "images": "i.tar", "products": size, "reference_size": size, "strata": 20,
        "shares": SampleShares(stratified=0.6, top_types=0.3, rare_types=0.1), "stratum_text": ["product_type"],
        "caps": CAPS, "exchanged": {"SHOES": 5}, "amazonbasics_cap": 0, "shoes_cap": 0, "top_types": 4,
        "rare_outside": 6, "max_malformed_lines": 0.01, "max_damaged_shards": 0, "max_unreadable_images": 0.01,
    }  # fmt: skip
    return SampleParams(**(values | changes))


def facts(size: int = 1200, seed: int = 0) -> pa.Table:
    """A pool of which a half are cases of one brand; 20 equal strata."""
    rng = np.random.default_rng(seed)
    kind = rng.choice(
        ["CASE", "SHOES", "CHAIR", "SOFA", *(f"T{n}" for n in range(12))], size, p=[0.5, 0.15, 0.07, 0.04, *[0.02] * 12]
    )
    brand = np.where(kind == "CASE", "big  brand", rng.choice(["Big Brand", "Small", "Other"], size))
    color = rng.choice(np.array(["red", "blue", None], object), size)
    rows = {
        "product_id": [f"B{n:06d}" for n in range(size)],
        "product_type": kind,
        "brand": brand,
        "color": color,
        "material": [None] * size,
    }
    table = pa.table({name: pa.array(values, pa.string()) for name, values in rows.items()})
    return table.append_column("stratum", pa.array(rng.permutation(size).astype(np.uint64)))


POOL = facts()


def draw(wanted: SampleParams, pool: pa.Table = POOL, without: tuple[str, ...] = (), seed: int = 1) -> Draw:
    return CappedSampler(pool, wanted, seed).draw(lambda _: True, without)


def drawn(found: Draw, fact: str, *stages: str, pool: pa.Table = POOL) -> Counter[str | None]:
    places = [place for place, stage in found.stages.items() if not stages or stage in stages]
    return Counter(pool[fact].take(pa.array(places)).to_pylist())


def test_the_sample_is_exact_and_depends_on_keys_and_seed_alone():
    order = np.random.default_rng(5).permutation(len(POOL))
    found, shuffled = draw(params()), draw(params(), POOL.take(order))
    assert len(found.stages) == 240
    assert {int(order[place]): stage for place, stage in shuffled.stages.items()} == found.stages
    assert draw(params(), seed=2).stages != found.stages


def test_caps_hold_in_every_stratum_and_at_least_one_is_allowed():
    found = draw(params())
    for stratum in range(20):
        inside = pa.array(
            (POOL["stratum"].to_numpy() % 20 == stratum)
            & np.isin(np.arange(len(POOL)), [p for p, s in found.stages.items() if s == STRATIFIED])
        )
        part = POOL.filter(inside)
        # 144 products in 20 strata: 7 each, so that a cap of 20 allows 1, of 40 again 1, and of 30 too.
        assert len(part) in (6, 7)
        assert part["product_type"].to_pylist().count("CASE") <= 1
        assert part["color"].null_count <= 1
        assert sum(brand.replace(" ", "").lower() == "bigbrand" for brand in part["brand"].to_pylist()) <= 1


def test_without_the_caps_the_crowd_comes_back():
    assert drawn(draw(params()), "product_type", STRATIFIED)["CASE"] <= 20
    assert drawn(draw(params(), without=("caps",)), "product_type")["CASE"] > 60


def test_top_types_get_the_same_less_half_of_what_they_have_and_capped_ones_what_the_cap_leaves():
    found = draw(params(exchanged={}))
    first, second = (drawn(found, "product_type", stage) for stage in (STRATIFIED, TOP_TYPES))
    goals = {"CASE": max(0, 20 - first["CASE"]), "SHOES": 40 - first["SHOES"]}
    goals |= {kind: max(0, 18 - first[kind] / 2) for kind in ("CHAIR", "SOFA")}
    assert set(second) <= set(goals)
    for kind, goal in goals.items():
        assert abs(second[kind] - 72 * goal / sum(goals.values())) < 1 or second[kind] + first[kind] == POOL[
            "product_type"
        ].to_pylist().count(kind)


def test_an_excess_is_exchanged_for_rare_types():
    with_shoes, without_them = draw(params(exchanged={})), draw(params())
    before, after = (
        drawn(each, "product_type", STRATIFIED, TOP_TYPES, RARE_TYPES) for each in (with_shoes, without_them)
    )
    excess = min(5, max(0, before["SHOES"] - 40))
    assert excess > 0, "a case that shows it"
    assert after["SHOES"] == before["SHOES"] - excess and after.total() == before.total()
    assert drawn(without_them, "product_type", RARE_TYPES).total() == 24 + excess


def test_the_rest_is_filled_within_the_caps_on_types():
    found = draw(params())
    assert list(found.stages.values()).count(FILLED) > 0
    assert found.wanted[FILLED] == 0 and set(found.wanted) == {STRATIFIED, TOP_TYPES, RARE_TYPES, FILLED}
    with pytest.raises(InputError, match=r"sample\.caps leaves only \d+ of 1200 products"):
        draw(params(1000))
    with pytest.raises(InputError, match=r"sample\.products is 1201"):
        draw(params(1201))


def test_the_beginnings_of_keywords_node_and_bullet_point_are_read():
    line = json.dumps(
        record(1, item_keywords=[{"value": "k" * 60}], node=[{"node_id": 1, "path": "/a/b"}], bullet_point=None)
    )
    assert read_stratum_texts(line.encode()) == ("k" * 50, "/a/b", None)
    odd = json.dumps(record(1, item_keywords="plain", node="no list", bullet_point=[{"value": 3}, {"value": "x"}]))
    assert read_stratum_texts(odd.encode()) == ("plain", None, "x")


def test_the_report_has_the_papers_counts_and_rules_beside_ours(workspace: Callable[..., Path]):
    caps = {"product_type": {"SHOES": 700}, "color": {"missing": 2500}}
    folder = workspace(60, sample={"products": 30, "caps": caps, "stratum_text": ["item_keywords", "node"]})
    listings_tar(folder / "data/abo-listings.tar", [record(n, color=None if n % 3 == 0 else "Red") for n in range(60)])
    sample.main()
    report = json.loads(sample.REPORT.read_text())
    assert report["after"]["products"] == 30 and "caps" in report["rules"]
    assert report["paper"]["counts"]["color"]["missing"] == {
        "here": report["after"]["color"]["missing"] * 400,
        "paper": 1789,
    }
    assert all(set(rule) == {"rule", "paper", "here"} for rule in report["paper"]["rules"])


@pytest.mark.slow
def test_a_pool_of_abos_shares_gives_the_papers_counts():
    spec = importlib.util.spec_from_file_location("abo_shares", ROOT / "benchmarks/abo_shares.py")
    assert spec is not None and spec.loader is not None
    shares = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shares)
    pool, wanted = shares.pool(), shares.params()

    def counts(sampler: Sampler) -> dict[str, Any]:
        taken = pool.take(list(sampler.draw(lambda _: True).stages))
        return side_by_side(distributions(taken), len(taken))["counts"]

    found = counts(CappedSampler(pool, wanted, 1))
    off = {
        value: pair for fact in ("product_type", "brand") for value, pair in found[fact].items()
        if abs(pair["here"] - pair["paper"]) > 0.25 * pair["paper"]
    }  # fmt: skip
    assert off == {}
    assert abs(found["color"]["missing"]["here"] - COUNTS["color"]["missing"]) <= 0.02 * 12_000
    assert counts(Sampler(pool, wanted, 1))["product_type"]["CELLULAR_PHONE_CASE"]["here"] > 4_000, "the caps do it"
