"""One listing of the catalog: the few of its 28 keys that the experiment uses, as plain values."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

import msgspec

FACTS = ("product_type", "brand", "color", "material", "shape", "item_name")
# Further text that strata can be built from, as the paper's are: the beginning of each key's first value.
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


class Text(msgspec.Struct, gc=False):
    """A value of a listing, and its language."""

    value: str
    language_tag: str | None = None


class _Measure(msgspec.Struct, gc=False):
    unit: str
    value: float


class _Side(_Measure, gc=False):
    normalized_value: _Measure | None = None


class _Sides(msgspec.Struct, gc=False):
    height: _Side | None = None
    width: _Side | None = None
    length: _Side | None = None


class _FactsRecord(msgspec.Struct, gc=False):
    """The ABO keys that read_facts uses, in the form of nearly all listings."""

    item_id: str
    domain_name: str
    product_type: list[Text] | str = []
    brand: list[Text] = []
    color: list[Text] = []
    material: list[Text] = []
    item_shape: list[Text] = []
    item_name: list[Text] = []
    main_image_id: str | None = None


class _Record(_FactsRecord, gc=False):
    """All ABO keys in use."""

    bullet_point: list[Text] = []
    item_dimensions: _Sides | None = None


_Read = TypeVar("_Read", bound=_FactsRecord)

# They skip the other keys, most of a listing's text: invalid JSON is still detected, but no objects are created.
_facts_decoder = msgspec.json.Decoder(_FactsRecord)
_decoder = msgspec.json.Decoder(_Record)


class Listing(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A product as one marketplace lists it; (item_id, domain_name) is its key.

    height, width, length: inches, None if missing. bullets: the bullet points. image_id: the main image. english: names
    of the text facts whose value is tagged as English; the others are in another language.
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
        """The key as one string."""
        return f"{self.item_id}@{self.domain_name}"

    @classmethod
    def from_line(cls, line: bytes) -> "Listing":
        """Read one line of a shard; ValueError or RecursionError if it is not a listing."""
        return cls._from_record(_read(line, _decoder))

    @classmethod
    def from_abo(cls, record: Any) -> "Listing":
        """Read one JSON object of ABO's listings in any form; ValueError if it is not a listing.

        The first English value (language tag en, en_US, ...) is preferred to the first value.
        """
        return cls._from_record(_read_any(record))

    @classmethod
    def _from_record(cls, record: _Record) -> "Listing":
        brand, brand_english = _preferred(record.brand)
        color, color_english = _preferred(record.color)
        name, name_english = _preferred(record.item_name)
        material, material_english = _preferred(record.material)
        shape, shape_english = _preferred(record.item_shape)
        sides = record.item_dimensions or _NO_SIDES
        return cls(
            item_id=_key("item_id", record.item_id),
            domain_name=_key("domain_name", record.domain_name),
            product_type=_product_type(record),
            brand=brand,
            color=color,
            material=material,
            shape=shape,
            item_name=name,
            bullets=_bullets(record.bullet_point),
            height=_inches(sides.height),
            width=_inches(sides.width),
            length=_inches(sides.length),
            image_id=record.main_image_id or None,
            english=_ENGLISH_FACTS[brand_english, color_english, name_english, material_english, shape_english],
        )

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Listing":
        """Read one row of the sample table; columns that do not belong to a listing are ignored."""
        values = {name: row[name] for name in cls.__struct_fields__}
        return cls(**values | {name: tuple(values[name] or ()) for name in ("bullets", "english")})


def read_facts(line: bytes) -> tuple[str | None, ...]:
    """Read only product_id, image_id and the FACTS of a line; values and errors as of Listing.from_line."""
    record = _read(line, _facts_decoder)
    return (
        f"{_key('item_id', record.item_id)}@{_key('domain_name', record.domain_name)}",
        record.main_image_id or None,
        _product_type(record),
        _preferred(record.brand)[0],
        _preferred(record.color)[0],
        _preferred(record.material)[0],
        _preferred(record.item_shape)[0],
        _preferred(record.item_name)[0],
    )


def _read(line: bytes, decoder: msgspec.json.Decoder[_Read]) -> _Read | _Record:
    try:
        if not line.isascii():
            line.decode()  # msgspec does not check the encoding of the text that it skips
        return decoder.decode(line)
    except (ValueError, RecursionError):
        # The tolerant reader handles unusual forms, and the standard library has the best messages for invalid JSON.
        return _read_any(json.loads(line))


def _read_any(record: Any) -> _Record:
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    image_id = record.get("main_image_id")
    return _Record(
        item_id=record.get("item_id"),  # type: ignore[arg-type]  # _key() checks
        domain_name=record.get("domain_name"),  # type: ignore[arg-type]
        item_dimensions=_sides(record.get("item_dimensions")),
        main_image_id=storable(image_id) if isinstance(image_id, str) else None,
        **{key: texts(record.get(key)) for key in _TEXTS},
    )


_TEXTS = ("product_type", "brand", "color", "material", "item_shape", "item_name", "bullet_point")
_NO_SIDES = _Sides()


class _EnglishFacts(dict[tuple[bool, ...], tuple[str, ...]]):
    """The names of the English facts in alphabetical order; created once for each combination."""

    def __missing__(self, is_english: tuple[bool, ...]) -> tuple[str, ...]:
        names = ("brand", "color", "item_name", "material", "shape")
        self[is_english] = tuple(name for name, yes in zip(names, is_english, strict=True) if yes)
        return self[is_english]


_ENGLISH_FACTS = _EnglishFacts()


def _key(name: str, value: Any) -> str:
    if isinstance(value, str) and value and value.isascii():
        return value
    raise ValueError(f"no {name}")


def _product_type(record: _FactsRecord) -> str:
    given = record.product_type
    return _preferred([Text(given)] if isinstance(given, str) else given)[0] or UNKNOWN_TYPE


@cache
def _is_english(tag: str | None) -> bool:
    return tag is not None and tag.lower().replace("-", "_").split("_")[0] == ENGLISH


def _preferred(texts: list[Text]) -> tuple[str | None, bool]:
    """Return the first English text, or the first of any language, and whether it is English."""
    first = None
    for text in texts:
        if value := text.value.strip():
            if _is_english(text.language_tag):
                return value, True
            first = first or value
    return first, False


def _bullets(texts: list[Text]) -> tuple[str, ...]:
    english = [value for text in texts if _is_english(text.language_tag) and (value := text.value.strip())]
    return tuple(english or [value for text in texts if (value := text.value.strip())])


def _inches(side: _Side | None) -> float | None:
    """Return one of ABO's item_dimensions in inches; None if value or unit is missing or unknown."""
    for given in () if side is None else (side.normalized_value, side):
        if given is not None and (factor := _INCHES.get(given.unit.lower())) is not None and given.value > 0:
            return round(given.value * factor, 4)
    return None


def texts(value: Any) -> list[Text]:
    """Read a plain string or a list of values; other forms are skipped."""
    texts = []
    for entry in value if isinstance(value, list) else (value,):
        text, tag = (entry.get("value"), entry.get("language_tag")) if isinstance(entry, dict) else (entry, None)
        if isinstance(text, str):
            texts.append(Text(storable(text), tag if isinstance(tag, str) else None))
    return texts


def storable(text: str) -> str:
    """Replace lone surrogates, which JSON can encode but Parquet cannot."""
    return text.encode(errors="replace").decode()


def _sides(value: Any) -> _Sides:
    """Read the sides of a known form; others are skipped."""
    sides = {}
    for name in _Sides.__struct_fields__ if isinstance(value, dict) else ():
        given = value.get(name)
        if isinstance(given, dict):
            normalized = given.get("normalized_value")
            sides[name] = _Side(
                *_measure(given),
                normalized_value=_Measure(*_measure(normalized if isinstance(normalized, dict) else {})),
            )
    return _Sides(**sides)


def _measure(given: Mapping[str, Any]) -> tuple[str, float]:
    value = given.get("value")
    return str(given.get("unit")), value if isinstance(value, int | float) else 0.0
