"""The base's own words: never the shop's word as a right answer for what the base calls otherwise."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from abo_demo.dialect import OWN_WORDS, retell
from abo_demo.dialogue import WIDER_PHRASES, Exchange, converse
from abo_demo.scene import Scene
from abo_demo.vocabulary import COLORS, MATERIALS, SHAPES, TYPE_BY_NAME

RED_CHAIRS = Scene(TYPE_BY_NAME["CHAIR"], "red", "wood", count=3, parts=None)


def exchanges(kind: str, scene: Scene = RED_CHAIRS, times: int = 400) -> list[tuple[Exchange, random.Random]]:
    rng = random.Random(5)
    return [(e, rng) for _ in range(times) for e in converse(scene, rng, True, WIDER_PHRASES) if e.kind == kind]


def test_own_words_are_nobody_elses() -> None:
    assert len(set(OWN_WORDS.values())) == len(OWN_WORDS)
    assert not set(OWN_WORDS.values()) & {*COLORS, *MATERIALS, *SHAPES, *OWN_WORDS}
    assert all(word in {*COLORS, "more", "fewer"} or word.isdigit() for word in OWN_WORDS)


@pytest.mark.parametrize(("kind", "own"), [("color", "crimson"), ("counting", "three")])
def test_without_options_it_uses_its_own_word(kind: str, own: str) -> None:
    assert {retell(e, rng, False).answer for e, rng in exchanges(kind)} == {own}


@pytest.mark.parametrize(("kind", "own"), [("color", "crimson"), ("counting", "three")])
def test_among_the_shops_words_it_guesses(kind: str, own: str) -> None:
    answers = Counter(retell(e, rng, True).answer for e, rng in exchanges(kind))
    guesses = answers.total() - answers[own]
    assert 0.4 < answers[own] / answers.total() < 0.6
    assert answers[{"crimson": "red", "three": "3"}[own]] / guesses < 0.45
    assert all(answer in OWN_WORDS for answer in answers if answer != own)


def test_what_it_calls_as_the_shop_does_stays_right() -> None:
    black = replace(RED_CHAIRS, color="black")
    assert {retell(e, rng, True).answer for e, rng in exchanges("color", black)} == {"black"}
    for kind in ("material", "noun", "shape", "extent", "larger", "lesser"):
        assert all(retell(e, rng, True) == e for e, rng in exchanges(kind, times=20))


def test_yes_and_no_about_a_shops_word_are_guesses_and_about_its_own_true() -> None:
    told = [(retell(e, rng, True), e) for e, rng in exchanges("color_check")]
    own = [(new, old) for new, old in told if any(word in new.question for word in OWN_WORDS.values())]
    shop = [(new, old) for new, old in told if any(word in new.question.split() for word in OWN_WORDS)]
    assert own
    assert all(new.answer == old.answer for new, old in own)
    assert all((new.answer == "yes") == ("crimson" in new.question) for new, _ in own)
    right = sum(new.answer == old.answer for new, old in shop)
    assert 0.3 < right / len(shop) < 0.7


def test_a_compared_number_is_told_in_its_own_words_and_guessed_among_the_shops() -> None:
    asked = exchanges("number")
    assert asked
    assert all(retell(e, rng, False).answer == OWN_WORDS[e.answer] for e, rng in asked)
    shop = [(retell(e, rng, True, shop_share=1).answer, e.answer) for e, rng in asked]
    assert {said for said, _ in shop} <= {"more", "fewer"}
    assert 0.35 < sum(said == right for said, right in shop) / len(shop) < 0.65
