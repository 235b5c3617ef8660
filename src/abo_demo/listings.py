"""Write listings in ABO's format: 28 keys, most of them optional lists of values with language tags.

A listing's facts are true of the picture: they come from the drawn scene.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from abo_demo.products import DRAWINGS
from abo_demo.scene import Scene, silhouette
from abo_demo.vocabulary import COLORS, ProductType
from abo_demo.words import STYLES, Market, pack, promise, translated

Json = dict[str, Any]

# Inches of height by drawing module, so that a sofa is taller than a mug.
_HEIGHTS = {"furniture": (20, 60), "kitchen": (3, 14), "wearables": (4, 16), "electronics": (3, 18), "home": (5, 24)}
_ENGLISH_PACKS = ("Set of {}", "Pack of {}", "{}-Pack", "{} Count")
_CENTIMETERS = 2.54
# Sides this close look equal; the listing omits them, so that no question asks which is longer.
_ALIKE = (1.04, 1.2)


@dataclass(frozen=True)
class Offer:
    """A scene as one marketplace offers it.

    keys: the optional keys of this listing. in_english: whether its texts include English. counted: whether it states
    the number of items. image_id: None without an image.
    """

    scene: Scene
    item_id: str
    brand: str
    model: str
    market: Market
    in_english: bool
    keys: frozenset[str]
    counted: bool
    image_id: str | None
    other_image_ids: tuple[str, ...] = ()

    @property
    def languages(self) -> tuple[str, ...]:
        """Return the language tags of its texts, its marketplace's first."""
        if self.market.speaks_english or not self.in_english:
            return (self.market.language,)
        return (self.market.language, self.market.english)


def listing_record(offer: Offer, rng: random.Random) -> Json:
    """Return a listing as ABO's JSON object, keys in alphabetical order."""
    scene, languages = offer.scene, offer.languages
    record: Json = {
        "brand": _values(languages, [offer.brand] * len(languages)),
        "bullet_point": _bullets(offer, rng),
        "color": _colors(offer, rng),
        "color_code": ["#{:02x}{:02x}{:02x}".format(*COLORS[scene.color])],
        "country": offer.market.country,
        "domain_name": offer.market.domain_name,
        "item_dimensions": _dimensions(scene, offer.market, rng),
        "item_id": offer.item_id,
        "item_keywords": _english(offer, _keywords(scene.product, rng)),
        "item_name": _names(offer, rng),
        "item_shape": _words(scene.shape, languages),
        "item_weight": _weight(rng),
        "main_image_id": offer.image_id,
        "marketplace": "Amazon",
        "material": _words(scene.material, languages),
        "model_name": _values(languages[-1:], [offer.model]),
        "model_number": [{"value": f"{offer.model[:3].upper()}-{rng.randrange(1000, 9999)}"}],
        "model_year": [{"value": rng.randrange(2015, 2021)}],
        "node": [{"node_id": rng.randrange(10**9, 10**10), "path": f"/Categories/{scene.product.plural.capitalize()}"}],
        "other_image_id": list(offer.other_image_ids) or None,
        "pattern": _english(offer, ["Solid"]),
        "product_description": _values(languages[-1:], [f"<p>{offer.brand} {offer.model}.</p>"]),
        "product_type": [{"value": scene.product.name}],
        "style": _english(offer, [rng.choice(STYLES)]),
    }
    if scene.material in ("fabric", "leather"):
        record["fabric_type"] = _words(scene.material, languages)
    if scene.material in ("metal", "wood"):
        record["finish_type"] = _english(offer, ["Brushed" if scene.material == "metal" else "Grained"])
    sure = {"country", "domain_name", "item_id", "item_name", "item_keywords", "marketplace", "product_type", "node"}
    kept = sure | offer.keys | {"main_image_id", "other_image_id", "bullet_point"}
    return {key: record[key] for key in sorted(record) if key in kept and record[key]}


# Optional keys and the share of listings that have them; the first three shares are ABO's.
KEY_SHARES: dict[str, float] = {
    "color": 0.79, "material": 0.36, "brand": 0.9996, "item_shape": 0.7, "item_dimensions": 0.9, "item_weight": 0.5,
    "color_code": 0.1, "fabric_type": 0.2, "finish_type": 0.2, "model_name": 0.4, "model_number": 0.5,
    "model_year": 0.1, "pattern": 0.1, "product_description": 0.1, "style": 0.4,
}  # fmt: skip


def _values(languages: Sequence[str], values: Sequence[str]) -> list[Json]:
    return [{"language_tag": tag, "value": value} for tag, value in zip(languages, values, strict=True)]


def _english(offer: Offer, values: Sequence[str]) -> list[Json]:
    """Return values that exist only in English; none if the offer has no English."""
    return _values(offer.languages[-1:] * len(values), values) if offer.in_english else []


def _words(word: str, languages: Sequence[str]) -> list[Json]:
    return _values(languages, [translated(word, tag) for tag in languages])


def _colors(offer: Offer, rng: random.Random) -> list[Json]:
    """Return the color, sometimes as a merchant's name, half the time with ABO's standardized value."""
    values = _words(offer.scene.color, offer.languages)
    if rng.random() < 0.05:
        values = [v | {"value": f"Classic {v['value']}"} if v["language_tag"].startswith("en") else v for v in values]
    if rng.random() < 0.5:
        values = [value | {"standardized_values": [offer.scene.color.capitalize()]} for value in values]
    return values


def _names(offer: Offer, rng: random.Random) -> list[Json]:
    """Return the item name in each language; the English one contains the noun."""
    scene = offer.scene
    in_pack = scene.parts is None and offer.counted
    name_color = rng.random() < 0.5
    way = rng.choice(_ENGLISH_PACKS)
    names = []
    for tag in offer.languages:
        words = f"{offer.brand} {offer.model}"
        color = translated(scene.color, tag)
        if tag.startswith("en"):
            thing = scene.product.noun if scene.count == 1 else scene.product.plural
            name = f"{words} {thing.title()}" + (f", {color}" if name_color else "")
            if in_pack:
                name += f", {way.format(scene.count)}" if scene.count > 1 else " (1 Count)"
        else:
            name = f"{words}, {color}" + (f", {pack(scene.count, tag)}" if in_pack else "")
        names.append(name)
    return _values(offer.languages, names)


def _bullets(offer: Offer, rng: random.Random) -> list[Json]:
    """Return bullet points; an English one states the number of contents shown."""
    scene, bullets = offer.scene, []
    for tag in offer.languages:
        if not tag.startswith("en"):
            bullets.append((tag, promise(tag)))
            continue
        bullets.append((tag, rng.choice(("Designed with care.", "Easy to clean.", "Made for every day."))))
        if scene.parts is not None and offer.counted:
            unit = f"{scene.parts} {scene.product.part}"
            bullets.append((tag, f"Shown with {unit}"))
    return [{"language_tag": tag, "value": text} for tag, text in bullets]


def _keywords(product: ProductType, rng: random.Random) -> list[str]:
    general = ("gift", "home", "new", "family", "everyday", "basics", "office")
    return [product.noun, product.plural, *rng.sample(general, 3)]


def _dimensions(scene: Scene, market: Market, rng: random.Random) -> Json | None:
    """Return height, width and length in ABO's form; None if a person could not tell which side is longer."""
    ratio = silhouette(scene)
    if ratio is None or _ALIKE[0] < max(ratio, 1 / ratio) < _ALIKE[1]:
        return None
    low, high = _HEIGHTS[DRAWINGS[scene.product.name].__module__.rsplit(".", 1)[-1]]
    height = rng.uniform(low, high)
    sides = {"height": height, "length": rng.uniform(0.3, 1.2) * height, "width": height * ratio}
    return {side: _length(inches, market) for side, inches in sides.items()}


def _length(inches: float, market: Market) -> Json:
    normalized = {"unit": "inches", "value": round(inches, 2)}
    if market.country in ("US", "IN", "CA"):
        return {"normalized_value": normalized, "unit": "inches", "value": round(inches, 2)}
    return {"normalized_value": normalized, "unit": "centimeters", "value": round(inches * _CENTIMETERS, 2)}


def _weight(rng: random.Random) -> list[Json]:
    pounds = round(rng.uniform(0.2, 20), 2)
    return [{"normalized_value": {"unit": "pounds", "value": pounds}, "unit": "pounds", "value": pounds}]
