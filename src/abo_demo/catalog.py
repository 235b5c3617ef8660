"""Draw the demo catalog: `python -m abo_demo.catalog --seed 7 --out data`.

Writes abo-listings.tar and abo-images-small.tar with ABO's layout and ABO's defects in ABO's proportions. Equal seeds
and sizes give equal bytes with the package versions named in images/README.md.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import random
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from abo_demo.archive import Picture, write_images, write_listings
from abo_demo.listings import KEY_SHARES, Json, Offer, listing_record
from abo_demo.scene import MAX_COUNT, Scene, draw_scene, sample_stretch
from abo_demo.vocabulary import COLORS, PRODUCT_TYPES, ProductType
from abo_demo.words import BRANDS, ENGLISH_MARKETS, HOUSE_BRAND, MODELS, OTHER_MARKETS, Market
from abo_vqa.common.draws import derive_rng

LISTINGS = 1760
SIZES = (((160, 160), 6), ((176, 152), 1), ((152, 176), 1))  # pixels (width, height), and weight
QUALITY = 72

T = TypeVar("T")

_HOUSE_SHARE = 0.1
_OTHER_LANGUAGE = 0.25
_ENGLISH_BESIDE = 0.5
_COUNTED = 0.75
_PARTS_SHOWN = 0.75  # of the products that have parts
_TWINS = 0.01
_NO_IMAGE = 0.004
_OTHER_VIEW = 0.01


@dataclass(frozen=True)
class Entry:
    """A listing: the offer, and ABO's JSON object written from it."""

    offer: Offer
    record: Json


@dataclass(frozen=True)
class CatalogSummary:
    """Summary of write_catalog: counts, sizes in bytes, and the number of listings that state each number."""

    listings: int
    images: int
    product_types: int
    colors: int
    listings_bytes: int
    images_bytes: int
    stated: Mapping[int, int]


def plan_catalog(seed: int, listings: int) -> list[Entry]:
    """Plan all listings without drawing; ValueError for fewer than 40, too few to include all defects."""
    if listings < 40:
        raise ValueError(f"{listings} listings are too few, 40 is the least")
    # The committed archives are drawn with this key; do not respell it.
    rng = derive_rng(seed, "catalogue", listings)
    twins = max(2, round(_TWINS * listings))
    offers = _offers(listings - twins, rng)
    offers += _twins(offers, twins, rng)
    rng.shuffle(offers)
    return [Entry(offer, listing_record(offer, rng)) for offer in offers]


def write_catalog(out: Path, seed: int, listings: int) -> CatalogSummary:
    """Draw and write both archives into the folder out, replacing older ones."""
    entries = plan_catalog(seed, listings)
    absent = absent_image(entries)
    scenes: dict[str, Scene] = {}
    for entry in entries:
        for image_id in (entry.offer.image_id, *entry.offer.other_image_ids):
            if image_id is not None and image_id != absent:
                scenes[image_id] = entry.offer.scene
    pictures = [_picture(image_id, scenes[image_id], seed) for image_id in tqdm(sorted(scenes), desc="drawing")]
    truncated = truncated_image(entries)
    pictures = [replace(p, data=p.data[: len(p.data) * 3 // 5]) if p.image_id == truncated else p for p in pictures]
    out.mkdir(parents=True, exist_ok=True)
    listings_tar, images_tar = out / "abo-listings.tar", out / "abo-images-small.tar"
    write_listings(listings_tar, [entry.record for entry in entries])
    write_images(images_tar, pictures)
    return CatalogSummary(
        listings=len(entries),
        images=len(pictures),
        product_types=len({entry.offer.scene.product.name for entry in entries}),
        colors=len({entry.offer.scene.color for entry in entries}),
        listings_bytes=listings_tar.stat().st_size,
        images_bytes=images_tar.stat().st_size,
        stated=dict(sorted(Counter(_number(e.offer.scene) for e in entries if e.offer.counted).items())),
    )


def absent_image(entries: Sequence[Entry]) -> str:
    """Return the one image id in a listing without an image."""
    return _unshared(entries)[0]


def truncated_image(entries: Sequence[Entry]) -> str:
    """Return the id of the one truncated JPEG."""
    return _unshared(entries)[1]


def _unshared(entries: Sequence[Entry]) -> list[str]:
    """Return the main images used by only one listing, in order of their ids."""
    used = Counter(entry.offer.image_id for entry in entries)
    return sorted(image_id for image_id, times in used.items() if image_id is not None and times == 1)


def _number(scene: Scene) -> int:
    """Return the number that a listing of this scene states: of its contents if it has any, else of copies."""
    return scene.count if scene.parts is None else scene.parts


def _offers(count: int, rng: random.Random) -> list[Offer]:
    """Return offers of as many different scenes, with all proportions as exact as whole listings allow."""
    products = _deal(PRODUCT_TYPES, [product.weight for product in PRODUCT_TYPES], count, rng)
    colors = _deal(list(COLORS), [1.0] * len(COLORS), count, rng)
    showing_parts = _parts(products, rng)
    packs = _packs(count, sum(parts is not None for parts in showing_parts), rng)
    brands = _brands(count, rng)
    markets = _markets(count, rng)
    beside = _flags(count, _ENGLISH_BESIDE, rng)
    without_image = _flags(count, _NO_IMAGE, rng, least=5)
    other_view = _flags(count, _OTHER_VIEW, rng)
    keys = {key: _flags(count, share, rng) for key, share in KEY_SHARES.items()}
    if all(keys["brand"]):
        keys["brand"][rng.randrange(count)] = False
    item_ids = _names(count, string.ascii_uppercase + string.digits, 8, "B0", "", rng)
    letters = string.ascii_letters + string.digits + "+-"
    image_ids = _names(2 * count, letters, 7, "81", "L", rng)
    offers = []
    for i, product in enumerate(products):
        pieces = None if showing_parts[i] is not None else packs.pop()
        scene = Scene(
            product=product,
            color=colors[i],
            material=rng.choice(product.materials),
            count=pieces or 1,
            parts=showing_parts[i],
            stretch=sample_stretch(rng, product),
        )
        offers.append(
            Offer(
                scene=scene,
                item_id=item_ids[i],
                brand=brands[i],
                model=rng.choice(MODELS),
                market=markets[i],
                in_english=markets[i].speaks_english or beside[i],
                keys=frozenset(key for key, has in keys.items() if has[i]),
                counted=showing_parts[i] is not None or pieces is not None,
                image_id=None if without_image[i] else image_ids[i],
                other_image_ids=(image_ids[count + i],) if other_view[i] and not without_image[i] else (),
            )
        )
    return offers


def _twins(offers: Sequence[Offer], count: int, rng: random.Random) -> list[Offer]:
    """Return duplicate listings that share an image: half the same item in another marketplace, half another item."""
    twins = []
    for index, offer in enumerate(rng.sample([offer for offer in offers if offer.image_id is not None], count)):
        if index % 2:
            twins.append(replace(offer, item_id=_names(1, string.ascii_uppercase, 8, "B1", "", rng)[0]))
        else:
            market = rng.choice([market for market in ENGLISH_MARKETS if market != offer.market])
            twins.append(replace(offer, market=market, in_english=True))
    return twins


def _picture(image_id: str, scene: Scene, seed: int) -> Picture:
    """Draw and encode one image; its file name depends only on its id."""
    rng = derive_rng(seed, "picture", image_id)
    size = rng.choices([size for size, _ in SIZES], [often for _, often in SIZES])[0]
    packed = io.BytesIO()
    draw_scene(scene, rng, size).save(packed, "JPEG", quality=QUALITY, optimize=True)
    name = hashlib.sha256(image_id.encode()).hexdigest()[:8]
    return Picture(image_id, size[0], size[1], f"{name[:2]}/{name}.jpg", packed.getvalue())


def _deal(things: Sequence[T], weights: Sequence[float], count: int, rng: random.Random) -> list[T]:
    """Return `count` things in random order, each in proportion to its weight, rounded to whole numbers."""
    shares = [weight * count / sum(weights) for weight in weights]
    numbers = [int(share) for share in shares]
    by_rest = sorted(range(len(things)), key=lambda i: (numbers[i] - shares[i], i))
    for i in by_rest[: count - sum(numbers)]:
        numbers[i] += 1
    dealt = [thing for thing, number in zip(things, numbers, strict=True) for _ in range(number)]
    rng.shuffle(dealt)
    return dealt


def _flags(count: int, share: float, rng: random.Random, least: int = 1) -> list[bool]:
    """Return flags in random order, of which the share, but at least `least`, are set."""
    wanted = max(least, round(share * count))
    return _deal([True, False], [wanted, count - wanted], count, rng)


def _parts(products: Sequence[ProductType], rng: random.Random) -> list[int | None]:
    """Return the number of contents to show per product, all numbers about equally often; None to show none."""
    able = [i for i, product in enumerate(products) if product.part is not None]
    showing = rng.sample(able, round(_PARTS_SHOWN * len(able)))
    numbers = _deal(range(MAX_COUNT + 1), [1.0] * (MAX_COUNT + 1), len(showing), rng)
    parts: list[int | None] = [None] * len(products)
    for i, number in zip(showing, numbers, strict=True):
        parts[i] = number
    return parts


def _packs(count: int, showing_parts: int, rng: random.Random) -> list[int | None]:
    """Return the number of copies that each other listing shows and states; None for one copy, not stated.

    A stated "1" is as rare as any other number, or it would be a good guess without the image.
    """
    stated = round(_COUNTED * count) - showing_parts
    numbers: list[int | None] = list(_deal(range(1, MAX_COUNT + 1), [1.0] * 8 + [0.6, 0.6], stated, rng))
    numbers += [None] * (count - showing_parts - stated)
    rng.shuffle(numbers)
    return numbers


def _brands(count: int, rng: random.Random) -> list[str]:
    others = [(1 - _HOUSE_SHARE) / len(BRANDS)] * len(BRANDS)
    return _deal([HOUSE_BRAND, *BRANDS], [_HOUSE_SHARE, *others], count, rng)


def _markets(count: int, rng: random.Random) -> list[Market]:
    markets = []
    for group, share in ((ENGLISH_MARKETS, 1 - _OTHER_LANGUAGE), (OTHER_MARKETS, _OTHER_LANGUAGE)):
        whole = sum(market.weight for market in group)
        markets += [(market, share * market.weight / whole) for market in group]
    return _deal([market for market, _ in markets], [weight for _, weight in markets], count, rng)


def _names(count: int, letters: str, length: int, prefix: str, suffix: str, rng: random.Random) -> list[str]:
    """Return distinct random names between a prefix and a suffix."""
    names: dict[str, None] = {}
    while len(names) < count:
        names[prefix + "".join(rng.choices(letters, k=length)) + suffix] = None
    return list(names)


def main() -> None:
    """Write the demo catalog and print its summary."""
    parser = argparse.ArgumentParser(description="Draw the demo catalog in ABO's archive layout.")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("data"))
    parser.add_argument("--listings", type=int, default=LISTINGS)
    args = parser.parse_args()
    summary = write_catalog(args.out, args.seed, args.listings)
    print(json.dumps(summary.__dict__, indent=2))


if __name__ == "__main__":
    main()
