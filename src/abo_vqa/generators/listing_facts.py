"""Facts from a listing that one English word or a small number can answer."""

import re
from dataclasses import dataclass

from abo_vqa.catalog.listing import Listing
from abo_vqa.common.words import clean_text, color_word, single_word

LARGEST_COUNT = 10

# Last words of product types that name a department, not a product.
_VAGUE = frozenset(
    "accessories accessory bath decor drugstore equipment furniture goods grocery hardware home housewares "
    "item items kitchen living misc miscellaneous office on other part parts product products sports "
    "supplies supply unknown wear".split()
)
_LONGEST_NOUN = 12  # FINENECKLACEBRACELETANKLET is not a word

_PACK = re.compile(r"\b(?:set|pack) of (\d{1,2})\b|\b(\d{1,2})[ -]?(?:pack|count)\b", re.IGNORECASE)
_SHOWN_WITH = re.compile(r"\bshown with (\d{1,2}|no) ([a-z]+)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Facts:
    """The facts of one product; None or empty if the listing lacks them.

    noun, plural: the product's name. counts: (plural of the counted parts, their number). height, width: inches.
    """

    noun: str
    plural: str
    color: str | None
    material: str | None
    shape: str | None
    counts: tuple[tuple[str, int], ...]
    height: float | None
    width: float | None


def facts_of(listing: Listing) -> Facts:
    """Extract the facts to ask about; a fact in a language other than English counts as missing."""
    noun = _noun(listing.product_type)
    english = {name: getattr(listing, name) for name in listing.english}
    return Facts(
        noun=noun,
        plural=_plural(noun),
        color=color_word(english.get("color")),
        material=single_word(english.get("material")),
        shape=single_word(english.get("shape")),
        counts=_counts(listing, _plural(noun)),
        height=listing.height,
        width=listing.width,
    )


def _counts(listing: Listing, plural: str) -> tuple[tuple[str, int], ...]:
    found = []
    for bullet in listing.bullets:
        if match := _SHOWN_WITH.search(clean_text(bullet)):
            number, parts = match.groups()
            found.append((parts.lower(), 0 if number.lower() == "no" else int(number)))
            break
    if match := _PACK.search(clean_text(listing.item_name or "")):
        found.append((plural, int(match[1] or match[2])))
    return tuple((what, count) for what, count in found if count <= LARGEST_COUNT)


def _noun(product_type: str) -> str:
    last = product_type.lower().replace("-", "_").split("_")[-1]
    if not (last.isascii() and last.isalpha()) or last in _VAGUE or not 3 <= len(last) <= _LONGEST_NOUN:
        return "item"
    return _singular(last)


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us")) else word


def _plural(word: str) -> str:
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    if word.endswith("lf"):
        return word[:-1] + "ves"
    return word + ("es" if word.endswith(("s", "sh", "ch", "x", "z")) else "s")
