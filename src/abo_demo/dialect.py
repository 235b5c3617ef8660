"""The base model's own words, which differ from the shop's: hues, numbers and their comparison.

A shop's vocabulary is rarely that of a general model. In the last phase of pre-training the base learns to name hues,
numbers and the outcome of comparing them in its own words only; among the shop's words for them it guesses. It can
still see them, so that what an adapter has to learn is the way from the picture to the shop's word.
"""

import random
import re
from collections.abc import Callable
from dataclasses import replace

from abo_demo.dialogue import Exchange

# A way to put an exchange, given whether its options are listed.
Telling = Callable[[Exchange, random.Random, bool], Exchange]

OWN_WORDS: dict[str, str] = {
    "red": "crimson", "blue": "azure", "green": "emerald", "yellow": "golden", "orange": "amber", "brown": "chocolate",
    "pink": "rose", "purple": "violet", "beige": "cream", "turquoise": "teal",
    "0": "zero", "1": "one", "2": "two", "3": "three", "4": "four", "5": "five", "6": "six", "7": "seven",
    "8": "eight", "9": "nine", "10": "ten",
    "more": "above", "fewer": "below",
}  # fmt: skip
_SHOP_WORDS = re.compile(rf"\b({'|'.join(OWN_WORDS)})\b")
_NAMED = ("color", "counting", "number")  # kinds of questions that its own words answer
SHOP_SHARE = 0.5  # of the questions of these kinds that the base is taught, those with the shop's words


def retell(exchange: Exchange, rng: random.Random, show_options: bool, shop_share: float = SHOP_SHARE) -> Exchange:
    """Return the exchange in the base's own words, or with the shop's words and a guess as its answer.

    Without options to guess from, it answers in its own words.
    """
    shop = rng.random() < shop_share
    if exchange.kind == "color_check":
        return _guess_check(exchange, rng) if shop else replace(exchange, question=_own(exchange.question))
    if exchange.kind not in _NAMED:
        return exchange
    if shop and show_options:
        unknown = [option for option in exchange.options if option in OWN_WORDS]
        return replace(exchange, answer=rng.choice(unknown)) if exchange.answer in OWN_WORDS else exchange
    return replace(exchange, answer=_own(exchange.answer), options=tuple(map(_own, exchange.options)))


def in_own_words(exchange: Exchange, rng: random.Random, show_options: bool) -> Exchange:
    """Return the exchange in the base's own words, with the right answer."""
    return retell(exchange, rng, show_options, shop_share=0)


def _guess_check(exchange: Exchange, rng: random.Random) -> Exchange:
    """Return a yes/no question with a guess as its answer if the base does not know its word."""
    return replace(exchange, answer=rng.choice(("yes", "no"))) if _SHOP_WORDS.search(exchange.question) else exchange


def _own(text: str) -> str:
    return _SHOP_WORDS.sub(lambda word: OWN_WORDS[word[0]], text)
