"""Draw the sample: data/*.tar to tables/sample.parquet (paper, sections 2.3 and 3.1)."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from abo_vqa.catalog.archives import ImageArchive, ListingsRead, image_problem, read_listings
from abo_vqa.catalog.listing import Listing
from abo_vqa.catalog.sampler import STAGES, Candidate, Draw, candidates, draw_sample
from abo_vqa.catalog.tables import replacing, write_json
from abo_vqa.params import SampleParams, read_params
from abo_vqa.stages import run_stage
from abo_vqa.stages.files import SAMPLE

REPORT = Path("reports/sample.json")
MOST_FREQUENT = 50  # values of a fact that the report lists
LISTED_MALFORMED = 100


def main() -> None:
    """Read both archives, draw, decode every image once, and write the sample with the image bytes inside."""
    params = read_params()
    read = read_listings(Path(params.sample.listings))
    with ImageArchive(Path(params.sample.images)) as images:
        pool, left_out = candidates(read.listings, images.paths.get)
        draw, problems = _draw(pool, params.sample, params.seed, images)
        report = _report(read, images, pool, left_out, draw, problems)
        rows = [
            asdict(candidate.listing)
            | {
                "product_id": candidate.listing.product_id,
                "image_path": candidate.image_path,
                "stage": stage,
                "image": {"bytes": images.read(candidate.image_path), "path": None},
            }
            for candidate, stage in draw.products
        ]
    _write_sample(SAMPLE, rows)
    write_json(REPORT, report)
    print(
        f"sample: {len(rows)} of {len(pool)} products; {len(draw.unreadable)} unreadable images replaced; "
        f"{len(read.malformed)} malformed lines skipped"
    )


def _draw(
    pool: Sequence[Candidate], params: SampleParams, seed: int, images: ImageArchive
) -> tuple[Draw, dict[str, str]]:
    """Draw from the pool, refusing images that cannot be decoded; the problem of each refused one by path."""
    problems: dict[str, str] = {}
    with tqdm(total=params.products, desc="sample", unit=" products", mininterval=1) as progress:

        def usable(candidate: Candidate) -> bool:
            problem = image_problem(images.read(candidate.image_path))
            if problem:
                problems[candidate.image_path] = problem
            else:
                progress.update()
            return problem is None

        return draw_sample(pool, params, seed, usable), problems


def _write_sample(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    # Imported here: it takes seconds, and a bad archive is reported before them.
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


def _report(
    read: ListingsRead,
    images: ImageArchive,
    pool: Sequence[Candidate],
    left_out: dict[str, int],
    draw: Draw,
    problems: dict[str, str],
) -> dict[str, Any]:
    drawn = Counter(stage for _, stage in draw.products)
    return {
        "archives": {
            "shards": read.shards,
            "listings": len(read.listings),
            "malformed_lines": len(read.malformed),
            "malformed": [asdict(line) for line in read.malformed[:LISTED_MALFORMED]],
            "images": len(images),
            "images_in_table_only": images.absent,
        },
        "pool": {"products": len(pool), "left_out": left_out},
        "stages": {
            stage: {"wanted": draw.wanted[stage], "drawn": drawn[stage], "shortfall": draw.shortfall[stage]}
            for stage in STAGES
        },
        "unreadable_images": [
            {"product_id": key, "image_path": path, "problem": problems[path]} for key, path in draw.unreadable
        ],
        "before": _profile(candidate.listing for candidate in pool),
        "after": _profile(candidate.listing for candidate, _ in draw.products),
    }


def _profile(listings: Iterable[Listing]) -> dict[str, Any]:
    """Count the values of the facts that the sampler looks at; the most frequent ones by name."""
    listings = list(listings)
    profile: dict[str, Any] = {"products": len(listings)}
    for fact in ("product_type", "brand", "color", "material"):
        counts = Counter(value for listing in listings if (value := getattr(listing, fact)) is not None)
        frequent = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_FREQUENT]
        profile[fact] = {
            "distinct": len(counts),
            "missing": len(listings) - counts.total(),
            "most_frequent": dict(frequent),
        }
    return profile


if __name__ == "__main__":
    run_stage("sample", main)
