"""One listing of the catalogue: the few of its 28 keys that the experiment uses, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

UNKNOWN_TYPE = "UNKNOWN"
ENGLISH = "en"

_INCHES = {
    "inches": 1.0,
    "feet": 12.0,
    "yards": 36.0,
    "millimeters": 1 / 25.4,
    "centimeters": 1 / 2.54,
    "meters": 100 / 2.54,
}
# The name of each text fact here and its key in ABO.
_TEXT_KEYS = {
    "brand": "brand",
    "color": "color",
    "material": "material",
    "shape": "item_shape",
    "item_name": "item_name",
}


@dataclass(frozen=True)
class Listing:
    """A product as one marketplace lists it; (item_id, domain_name) is its key.

    height, width, length: inches, None where not given. bullets: the bullet points. image_id: the main image.
    english: the names of the text facts whose value is tagged as English; the others are in another language.
    """

    item_id: str
    domain_name: str
    product_type: str
    brand: str | None
    color: str | None
    material: str | None
    shape: str | None
    item_name: str | None
    bullets: tuple[str, ...]
    height: float | None
    width: float | None
    length: float | None
    image_id: str | None
    english: tuple[str, ...]

    @property
    def product_id(self) -> str:
        """The key as one text."""
        return f"{self.item_id}@{self.domain_name}"

    @classmethod
    def from_abo(cls, record: Any) -> "Listing":
        """Read one JSON object of ABO's listings; ValueError says why where it is not a listing at all.

        An English value (language tag en, en_US, ...) is preferred to the listing's own first one.
        """
        if not isinstance(record, Mapping):
            raise ValueError("not a JSON object")
        item_id, domain_name = _key(record, "item_id"), _key(record, "domain_name")
        texts = {name: _preferred(record.get(key)) for name, key in _TEXT_KEYS.items()}
        bullets = _entries(record.get("bullet_point"))
        english_bullets = [text for text, is_english in bullets if is_english]
        image_id = record.get("main_image_id")
        size = record.get("item_dimensions")
        return cls(
            item_id=item_id,
            domain_name=domain_name,
            product_type=_preferred(record.get("product_type"))[0] or UNKNOWN_TYPE,
            brand=texts["brand"][0],
            color=texts["color"][0],
            material=texts["material"][0],
            shape=texts["shape"][0],
            item_name=texts["item_name"][0],
            bullets=tuple(english_bullets or [text for text, _ in bullets]),
            height=_inches(size, "height"),
            width=_inches(size, "width"),
            length=_inches(size, "length"),
            image_id=image_id if isinstance(image_id, str) and image_id else None,
            english=tuple(sorted(name for name, (text, is_english) in texts.items() if text and is_english)),
        )

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Listing":
        """Read one row of the sample table; columns that are no part of a listing are ignored."""
        values = {field.name: row[field.name] for field in fields(cls)}
        return cls(**values | {name: tuple(values[name] or ()) for name in ("bullets", "english")})


def _key(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    if isinstance(value, str) and value and value.isascii():
        return value
    raise ValueError(f"no {name}")


def _entries(value: Any) -> list[tuple[str, bool]]:
    """Return (text, is English) for a plain string or a list of values; strangers are left out."""
    entries = []
    for entry in value if isinstance(value, list) else [value]:
        text, tag = (entry.get("value"), entry.get("language_tag")) if isinstance(entry, Mapping) else (entry, None)
        if isinstance(text, str) and text.strip():
            is_english = isinstance(tag, str) and tag.lower().replace("-", "_").split("_")[0] == ENGLISH
            # JSON can spell half a surrogate pair, which no table can hold.
            entries.append((text.strip().encode(errors="replace").decode(), is_english))
    return entries


def _preferred(value: Any) -> tuple[str | None, bool]:
    entries = _entries(value)
    return next((entry for entry in entries if entry[1]), entries[0] if entries else (None, False))


def _inches(size: Any, name: str) -> float | None:
    """Return one of ABO's item_dimensions in inches; None where value or unit is missing or strange."""
    entry = size.get(name) if isinstance(size, Mapping) else None
    if not isinstance(entry, Mapping):
        return None
    for given in (entry.get("normalized_value"), entry):
        if isinstance(given, Mapping) and isinstance(given.get("value"), int | float):
            factor = _INCHES.get(str(given.get("unit")).lower())
            if factor is not None and given["value"] > 0:
                return round(given["value"] * factor, 4)
    return None
