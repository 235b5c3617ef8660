"""Stage sample: draw products of data/*.tar into tables/sample.parquet (paper, sections 2.3 and 3.1)."""

import abo_vqa.common.processor  # noqa: F401

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from tqdm import tqdm

from abo_vqa.catalog.archives import ListingsRead, read_catalog
from abo_vqa.catalog.capped import CappedSampler
from abo_vqa.catalog.images import ImageArchive, image_problem
from abo_vqa.catalog.paper import side_by_side
from abo_vqa.catalog.plots import plot_distribution, plot_effects
from abo_vqa.catalog.pool import Pool, candidates
from abo_vqa.catalog.profile import Distribution, concerned, distributions, effects
from abo_vqa.catalog.sampler import Draw, Sampler
from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import SAMPLE
from abo_vqa.common.params import read_params
from abo_vqa.common.params.data import SampleParams
from abo_vqa.common.runner import run_stage
from abo_vqa.common.storage import replacing, write_json

REPORT = Path("reports/sample.json")
PLOTS = Path("reports/plots/sample")
PLOTTED = ("product_type", "brand", "color")
LISTED_MALFORMED = 100
# The figures of the paper's text about its sample (section 2.3); its counts are in paper.py.
PAPER = {
    "catalogue": 147_702,
    "products": 12_000,
    "stages": {"stratified": 7_200, "top_types": 3_600, "rare_types": 1_200},
    "most_amazonbasics_in_stage_1": 1_200,
    "most_shoes_in_stage_2": 700,
    "top_types": 40,
    "rare_outside": 50,
}


def main() -> None:
    """Read both archives, draw, decode every image once, and write the sample with the image bytes inside."""
    params = read_params()
    read, images = read_catalog(Path(params.sample.listings), Path(params.sample.images), params.sample.stratum_text)
    with images:
        _check_listings(read, params.sample)
        pool, left_out = candidates(read.listings, images)
        sampler = (CappedSampler if params.sample.caps else Sampler)(pool.facts, params.sample, params.seed)
        draw, problems = _draw(sampler, pool, params.sample, images)
        every, drawn = np.arange(len(pool)), np.array(list(draw.stages))
        listings = read.listings.read(pool.rows[drawn])
        facts = pool.facts.take(drawn)
        rows = [
            msgspec.structs.asdict(listing)
            | {
                "product_id": listing.product_id,
                "image_path": images.path_at(place),
                "stage": stage,
                "image": {"bytes": images.read_at(place), "path": None},
            }
            for listing, stage, place in zip(listings, draw.stages.values(), pool.images[drawn].tolist(), strict=True)
        ]
    before, after = distributions(pool.facts), distributions(facts)
    changes = effects(sampler, draw)
    _write_sample(SAMPLE, rows)
    for fact in PLOTTED:
        plot_distribution(PLOTS / f"{fact}.svg", fact, before[fact], after[fact])
    plot_effects(PLOTS / "rules.svg", changes, len(rows))
    write_json(
        REPORT,
        {
            "archives": _archives(read, images),
            "pool": {"products": len(pool), "left_out": left_out},
            "stages": _stages(draw),
            "unreadable_images": problems,
            "before": _profile(before, concerned(sampler, every)),
            "after": _profile(after, concerned(sampler, drawn)),
            "rules": changes,
            "paper": PAPER | (side_by_side(after, len(rows)) if params.sample.caps else {}),
        },
    )
    print(
        f"sample: {len(rows)} of {len(pool)} products; {len(draw.unreadable)} unreadable images replaced; "
        f"{len(read.malformed)} malformed lines skipped; {len(read.damaged)} damaged shards"
    )


def _check_listings(read: ListingsRead, params: SampleParams) -> None:
    """Raise InputError if more of the listings is damaged than the parameters allow."""
    if len(read.damaged) > params.max_damaged_shards:
        named = "; ".join(f"{found.shard} after {found.lines} lines: {found.problem}" for found in read.damaged[:3])
        raise InputError(
            f"{params.listings}: {len(read.damaged)} truncated or damaged shards ({named}), more than "
            f"sample.max_damaged_shards: {params.max_damaged_shards}; download the archive again or raise it"
        )
    if len(read.malformed) > params.max_malformed_lines * read.lines:
        named = "; ".join(f"{found.shard} line {found.line}: {found.problem}" for found in read.malformed[:3])
        raise InputError(
            f"{params.listings}: {len(read.malformed)} of {read.lines} lines are malformed ({named}), a larger share "
            f"than sample.max_malformed_lines: {params.max_malformed_lines:g}; download the archive again or raise it"
        )


def _draw(
    sampler: Sampler, pool: Pool, params: SampleParams, images: ImageArchive
) -> tuple[Draw, list[dict[str, str]]]:
    """Draw products whose images can be decoded; also return the refused ones as rows of the report."""
    problems: dict[int, str] = {}
    with tqdm(total=params.products, desc="sample", unit=" products", mininterval=1) as progress:

        def path_of(place: int) -> str:
            return images.path_at(int(pool.images[place]))

        def usable(place: int) -> bool:
            problem = image_problem(images.read_at(int(pool.images[place])))
            if problem is None:
                progress.update()
                return True
            problems[place] = problem
            if len(problems) > params.max_unreadable_images * params.products:
                named = "; ".join(f"{path_of(place)}: {why}" for place, why in list(problems.items())[:3])
                raise InputError(
                    f"{params.images}: {len(problems)} of the images drawn cannot be read ({named}), more than "
                    f"sample.max_unreadable_images: {params.max_unreadable_images:g} of {params.products}; "
                    "download the archive again or raise it"
                )
            return False

        draw = sampler.draw(usable)
    return draw, [
        {
            "product_id": pool.facts["product_id"][place].as_py(),
            "image_path": path_of(place),
            "problem": problems[place],
        }
        for place in draw.unreadable
    ]


def _write_sample(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    # Imported here: it takes seconds, and errors about the archives should not wait for it.
    from datasets import Dataset, Features, Image, List, Value

    text, number = Value("string"), Value("float64")
    texts = (
        "product_id",
        "item_id",
        "domain_name",
        "product_type",
        "brand",
        "color",
        "material",
        "shape",
        "item_name",
    )
    features = Features(
        {name: text for name in texts}
        | {"bullets": List(text), "english": List(text)}
        | {name: number for name in ("height", "width", "length")}
        | {"image_id": text, "image_path": text, "stage": text, "image": Image()}
    )
    columns = {name: [row[name] for row in rows] for name in features}
    with replacing(path) as temporary:
        Dataset.from_dict(columns, features=features).to_parquet(str(temporary))


def _archives(read: ListingsRead, images: ImageArchive) -> dict[str, Any]:
    return {
        "shards": read.shards,
        "damaged_shards": [asdict(shard) for shard in read.damaged],
        "lines": read.lines,
        "listings": len(read.listings),
        "malformed_lines": len(read.malformed),
        "malformed": [asdict(line) for line in read.malformed[:LISTED_MALFORMED]],
        "images": len(images),
        "images_in_table_only": images.absent,
        "malformed_image_rows": images.malformed_rows,
    }


def _stages(draw: Draw) -> dict[str, Any]:
    drawn = Counter(draw.stages.values())
    return {
        stage: {
            "wanted": draw.wanted[stage],
            "drawn": drawn[stage],
            "share": round(drawn[stage] / len(draw.stages), 4),
            "shortfall": draw.shortfall[stage],
        }
        for stage in draw.wanted
    }


def _profile(facts: dict[str, Distribution], counts: dict[str, int]) -> dict[str, Any]:
    products = facts["product_type"].counts.total()
    return {"products": products, "concerned": counts} | {fact: found.report() for fact, found in facts.items()}


if __name__ == "__main__":
    run_stage("sample", main)
