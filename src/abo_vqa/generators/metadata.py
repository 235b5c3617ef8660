"""The paper's five questions per image (section 3.1), written from listing facts."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from statistics import median_low
from typing import Any

from abo_vqa.catalog.listing import Listing
from abo_vqa.common.draws import derive_rng, derive_seed, draw_others
from abo_vqa.common.params import Params
from abo_vqa.common.schema import RawOutput
from abo_vqa.common.words import BASIC_COLORS, COMMON_MATERIALS, COMMON_SHAPES
from abo_vqa.generators.listing_facts import LARGEST_COUNT, Facts, facts_of

GENERATOR = "metadata"
ATTRIBUTES_ASKED = 2
# Height and width within this ratio look equal in an image.
LEAST_RATIO = 1.08

YES_NO_PHRASES = ("Is the {noun} {value}?", "Is the color of the {noun} {value}?", "Is this {noun} {value}?")
ATTRIBUTE_PHRASES = {
    "color": (
        "What color is the {noun}?",
        "What is the color of the {noun}?",
        "Which color does the {noun} have?",
    ),
    "material": (
        "What material is the {noun} made of?",
        "What is the material of the {noun}?",
        "Which material is the {noun} made of?",
    ),
    "shape": (  # without the noun, which gives most shapes away: a bottle is cylindrical
        "What shape is the product?",
        "What is the shape of the product?",
        "Which shape does the product have?",
    ),
}
COUNT_PHRASES = (
    "How many {plural} are shown?",
    "How many {plural} are visible?",
    "How many {plural} are there?",
)
SIZE_PHRASES = {
    "greater": ("Which is greater, the height or the width of the {noun}?",),
    "smaller": ("Which is smaller, the height or the width of the {noun}?",),
}
# A number to compare with lies so close to the median count that it does not tell whether there are more or fewer.
FROM_MEDIAN = 1
NUMBER_PHRASES = ("Are there more or fewer than {number} {plural}?",)
_FALLBACK = {"color": BASIC_COLORS, "material": COMMON_MATERIALS, "shape": COMMON_SHAPES}


@dataclass(frozen=True)
class Generated:
    """Outputs in listing order; asked and skipped (missing fact): numbers of questions by kind."""

    outputs: list[RawOutput]
    asked: dict[str, int]
    skipped: dict[str, int]


def generate(rows: Sequence[dict[str, Any]], params: Params) -> tuple[list[RawOutput], dict[str, Any]]:
    """Return an output for every sample row with at least one fact, and counts."""
    generated = generate_from_metadata([(Listing.from_row(row), row["image_path"]) for row in rows], params.seed)
    counts = {
        "outputs": len(generated.outputs),
        "products_without_output": len(rows) - len(generated.outputs),
        "asked": generated.asked,
        "skipped_without_fact": generated.skipped,
    }
    return generated.outputs, counts


def generate_from_metadata(products: Sequence[tuple[Listing, str]], seed: int) -> Generated:
    """Write the questions of every (listing, image path) as one output in the paper's format.

    A kind whose fact is missing is skipped and counted; a product without any fact has no output. Exactly half of the
    yes/no questions have the answer yes.
    """
    facts = [facts_of(listing) for listing, _ in products]
    seen = _values_seen(facts)
    keys = [listing.product_id for listing, _ in products]
    colored = [key for key, fact in zip(keys, facts, strict=True) if fact.color]
    colored.sort(key=lambda key: (derive_seed(seed, "generate", "yes", key), key))
    say_yes = set(colored[: len(colored) // 2])
    outputs = []
    asked: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    for (listing, image_path), fact in zip(products, facts, strict=True):
        rng = derive_rng(seed, "generate", listing.product_id)
        questions = []
        for kind, found in _write(fact, seen, listing.product_id in say_yes, rng).items():
            (asked if found else skipped)[kind] += 1
            questions += [found] if found else []
        if questions:
            text = json.dumps({"questions": questions})
            outputs.append(RawOutput(listing.product_id, image_path, GENERATOR, seed, text))
    return Generated(outputs, dict(asked), dict(skipped))


def _write(fact: Facts, seen: Mapping[str, Counter[str]], yes: bool, rng: Random) -> dict[str, dict[str, Any] | None]:
    """Return the questions of one product by kind, None if the fact is missing."""
    known = [name for name in ATTRIBUTE_PHRASES if getattr(fact, name)]
    chosen = sorted(rng.sample(known, min(ATTRIBUTES_ASKED, len(known))))
    written = {"existential": _existential(fact, seen["color"], yes, rng)}
    for position in range(ATTRIBUTES_ASKED):
        has_fact = position < len(chosen)
        written[f"attribute {position + 1}"] = _attribute(fact, chosen[position], seen, rng) if has_fact else None
    written["counting"] = _counting(fact, seen["count"], rng)
    written["comparison"] = _comparison(fact, seen["count"], rng)
    return written


def _existential(fact: Facts, colors: Counter[str], yes: bool, rng: Random) -> dict[str, Any] | None:
    if fact.color is None:
        return None
    value = fact.color if yes else draw_others(fact.color, colors, 1, rng)[0]
    text = rng.choice(YES_NO_PHRASES).format(noun=fact.noun, value=value)
    answer = "yes" if yes else "no"
    others = [option for option in ("yes", "no", "maybe", "unclear") if option != answer]
    return _question("existential", text, answer, others, rng)


def _attribute(fact: Facts, name: str, seen: Mapping[str, Counter[str]], rng: Random) -> dict[str, Any]:
    answer = getattr(fact, name)
    text = rng.choice(ATTRIBUTE_PHRASES[name]).format(noun=fact.noun)
    return _question("attribute", text, answer, draw_others(answer, seen[name], 3, rng), rng)


def _counting(fact: Facts, counts: Counter[str], rng: Random) -> dict[str, Any] | None:
    if not fact.counts:
        return None
    plural, count = rng.choice(fact.counts)
    text = rng.choice(COUNT_PHRASES).format(plural=plural)
    return _question("counting", text, str(count), draw_others(str(count), counts, 3, rng), rng)


def _comparison(fact: Facts, counts: Counter[str], rng: Random) -> dict[str, Any] | None:
    height, width = fact.height, fact.width
    sizes_differ = height and width and max(height, width) > LEAST_RATIO * min(height, width)
    ways = ([_compare_sizes] if sizes_differ else []) + ([_compare_number] if fact.counts else [])
    return rng.choice(ways)(fact, counts, rng) if ways else None


def _compare_sizes(fact: Facts, _: Counter[str], rng: Random) -> dict[str, Any]:
    assert fact.height and fact.width
    which = rng.choice(sorted(SIZE_PHRASES))
    answer = "height" if (fact.height > fact.width) == (which == "greater") else "width"
    text = rng.choice(SIZE_PHRASES[which]).format(noun=fact.noun)
    others = ["width" if answer == "height" else "height", "equal", "neither"]
    return _question("comparison", text, answer, others, rng)


def _compare_number(fact: Facts, counts: Counter[str], rng: Random) -> dict[str, Any]:
    plural, count = rng.choice(fact.counts)
    median = median_low(int(value) for value in counts.elements())
    number = rng.choice([n for n in range(max(1, median - FROM_MEDIAN), median + FROM_MEDIAN + 1) if n != count])
    answer = "more" if count > number else "fewer"
    text = rng.choice(NUMBER_PHRASES).format(number=number, plural=plural)
    others = ["fewer" if answer == "more" else "more", "equal", "none"]
    return _question("comparison", text, answer, others, rng)


def _values_seen(facts: Iterable[Facts]) -> dict[str, Counter[str]]:
    """Count every value by kind; a kind with too few values for four options gets the common ones, once each."""
    facts = list(facts)
    seen = {name: Counter(value for fact in facts if (value := getattr(fact, name))) for name in ATTRIBUTE_PHRASES}
    for name, counter in seen.items():
        if len(counter) < 4:
            counter.update(value for value in _FALLBACK[name] if value != "grey")
    seen["count"] = Counter(map(str, range(LARGEST_COUNT + 1)))
    seen["count"].update(str(count) for fact in facts for _, count in fact.counts)
    return seen


def _question(kind: str, text: str, answer: str, others: list[str], rng: Random) -> dict[str, Any]:
    options = [answer, *others]
    rng.shuffle(options)
    return {"type": kind, "question": text, "answer": answer, "options": options}
