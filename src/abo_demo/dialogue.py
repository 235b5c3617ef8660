"""Generic questions about a drawn scene, the training data of the demo's base model.

Phrasing and option lists are those of everyday visual question answering, not the experiment's prompts, so that the
base model relates to the experiment as a general model does to product questions.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from abo_demo.scene import MAX_COUNT, Scene, silhouette
from abo_demo.vocabulary import COLORS, MATERIALS, PRODUCT_TYPES, SHAPES

# Cached: it needs a drawing, and every visit to a scene needs it.
_silhouette = cache(silhouette)
NUMBERS = [str(number) for number in range(MAX_COUNT + 1)]


@dataclass(frozen=True)
class Exchange:
    """One question about a scene, its one-word answer, and four options that include the answer."""

    kind: str
    question: str
    answer: str
    options: tuple[str, ...]


PHRASES: dict[str, tuple[str, ...]] = {
    "color": (
        "What color is the {noun}?",
        "Which color do you see on the {noun}?",
        "What is the color of the {noun}?",
        "Name the main color.",
        "What color is the object in the picture?",
    ),
    "material": (
        "What is the {noun} made of?",
        "What material is the {noun} made of?",
        "Which material is this?",
        "What material do you see?",
    ),
    "shape": (
        "What shape is the {noun}?",
        "What is the shape of the {noun}?",
        "Which outline does the object have?",
        "Describe the shape in one word.",
    ),
    "noun": ("What is this?", "What object is shown?", "What do you see in the picture?", "Name the object."),
    "counting": (
        "How many {things} are there?",
        "How many {things} can you see?",
        "Count the {things}.",
        "How many {things} are in the picture?",
        "What is the number of {things}?",
    ),
    "color_check": ("Is the {noun} {value}?", "Is this a {value} {noun}?", "Do you see a {value} {noun}?"),
    "material_check": ("Is the {noun} made of {value}?", "Is this {noun} {value}?"),
    "noun_check": ("Is there a {value} in the picture?", "Is this a {value}?", "Do you see a {value}?"),
    "extent": ("Is the {noun} taller or wider?", "Is the object wider or taller?"),
    "larger": ("Is the height or the width of the {noun} larger?", "What is larger, its height or its width?"),
    "lesser": ("Is the height or the width of the {noun} less?", "What is less, its height or its width?"),
    "number": (
        "Is the number of {things} more or fewer than {value}?",
        "More or fewer {things} than {value}?",
        "Compared to {value}, are the {things} more or fewer?",
    ),
    "amount": (
        "Are there more than {value} {things}?",
        "Are there fewer than {value} {things}?",
        "Are there exactly {value} {things}?",
    ),
}

# More ways to ask, for a later phase of pre-training.
WIDER_PHRASES: dict[str, tuple[str, ...]] = PHRASES | {
    "color_check": (*PHRASES["color_check"], "Is its color {value}?", "Would you say that the {noun} is {value}?"),
    "larger": (
        *PHRASES["larger"],
        "Which of the two is larger, the height or the width of the {noun}?",
        "Which of the two is greater, the height or the width of the {noun}?",
        "Is the height or the width of the {noun} greater?",
    ),
    "lesser": (
        *PHRASES["lesser"],
        "Which of the two is less, the height or the width of the {noun}?",
        "Which of the two is smaller, the height or the width of the {noun}?",
        "Is the height or the width of the {noun} smaller?",
    ),
    "number": (*PHRASES["number"], "Are there more or fewer {things} than {value}?"),
}


def converse(
    scene: Scene, rng: random.Random, comparisons: bool, phrases: Mapping[str, tuple[str, ...]] = PHRASES
) -> list[Exchange]:
    """Return one question of every kind that applies to the scene, in random order.

    Without `comparisons`, questions about height, width, more and fewer are omitted.
    """
    noun = scene.product.noun
    things, number = (scene.product.plural, scene.count) if scene.parts is None else (scene.product.part, scene.parts)
    nouns = [product.noun for product in PRODUCT_TYPES]

    def say(kind: str, value: str = "") -> str:
        return rng.choice(phrases[kind]).format(noun=noun, things=things, value=value)

    exchanges = [
        Exchange("color", say("color"), scene.color, _options(scene.color, list(COLORS), rng)),
        Exchange("material", say("material"), scene.material, _options(scene.material, MATERIALS, rng)),
        Exchange("shape", say("shape"), scene.shape, _options(scene.shape, SHAPES, rng)),
        Exchange("noun", say("noun"), noun, _options(noun, nouns, rng)),
        Exchange("counting", say("counting"), str(number), _options(str(number), NUMBERS, rng)),
        _check("color_check", say, scene.color, list(COLORS), rng),
        rng.choice(
            (
                _check("material_check", say, scene.material, MATERIALS, rng),
                _check("noun_check", say, noun, nouns, rng),
            )
        ),
        _amount(str(things), number, rng),
    ]
    ratio = _silhouette(scene)
    if ratio is not None and not 0.93 < ratio < 1.07:
        answer = "wider" if ratio > 1 else "taller"
        exchanges.append(
            Exchange("extent", say("extent"), answer, _options(answer, ("taller", "wider", "same", "unclear"), rng))
        )
        if comparisons:
            kind = rng.choice(("larger", "lesser"))
            answer = "width" if (ratio > 1) == (kind == "larger") else "height"
            options = _options(answer, ("height", "width", "both", "unclear"), rng)
            exchanges.append(Exchange(kind, say(kind), answer, options))
    if comparisons:
        value = rng.choice([n for n in range(MAX_COUNT + 1) if n != number])
        answer = "more" if number > value else "fewer"
        options = _options(answer, ("more", "fewer", "same", "unclear"), rng)
        exchanges.append(Exchange("number", say("number", str(value)), answer, options))
    rng.shuffle(exchanges)
    return exchanges


OPEN_FORMS = (
    "{q}",
    "{q}\nAnswer the question using a single word or phrase.",
    "{q}\nOne word:",
    "{q}\nAnswer in one word.",
    "{q} Reply with a single word.",
)
OPTIONS_FORMS = (
    ("{q}\nChoices: {o}", ", "),
    ("{q} Pick one: {o}.", " / "),
    ("{q}\nWhich of these? {o}\nAnswer:", ", "),
    ("{q}\nChoose from: {o}.", "; "),
    ("{q} ({o})", ", "),
    ("{q}\nOptions: {o}\nAnswer:", ", "),
    ("{q}\nOptions: {o}\nAnswer with one of the options.", ", "),
    ("{q}\nOptions: {o}\nPick just one.", ", "),
    ("{q}\nOptions: {o}\nGive one word.", ", "),
    ("{q}\nChoices: {o}\nAnswer with a single choice.", ", "),
)


def ask(exchange: Exchange, rng: random.Random, show_options: bool) -> str:
    """Return a question's text in a random everyday form, with or without its options."""
    if not show_options:
        return rng.choice(OPEN_FORMS).format(q=exchange.question)
    form, separator = rng.choice(OPTIONS_FORMS)
    return form.format(q=exchange.question, o=separator.join(exchange.options))


def _options(answer: str, pool: Sequence[str], rng: random.Random) -> tuple[str, ...]:
    options = [answer, *rng.sample([value for value in pool if value != answer], 3)]
    rng.shuffle(options)
    return tuple(options)


def _check(kind: str, say: Callable[..., str], truth: str, pool: Sequence[str], rng: random.Random) -> Exchange:
    holds = rng.random() < 0.5
    value = truth if holds else rng.choice([other for other in pool if other != truth])
    answer = "yes" if holds else "no"
    return Exchange(kind, say(kind, value), answer, _options(answer, ("yes", "no", "maybe", "unclear"), rng))


def _amount(things: str, number: int, rng: random.Random) -> Exchange:
    """Return a comparison with a number, drawn so that yes and no are equally likely."""
    form = rng.randrange(3)
    tests = (lambda n: number > n, lambda n: number < n, lambda n: number == n)
    holds = rng.random() < 0.5
    fitting = [n for n in range(MAX_COUNT + 1) if tests[form](n) == holds]
    value = rng.choice(fitting or range(MAX_COUNT + 1))
    answer = "yes" if tests[form](value) else "no"
    question = PHRASES["amount"][form].format(value=value, things=things)
    return Exchange("amount", question, answer, _options(answer, ("yes", "no", "maybe", "unclear"), rng))
