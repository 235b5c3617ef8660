"""What the tolerant match forgives, and what it must not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abo_vqa.commands.tolerant_match import similarity, tolerant_match


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [
        ("Chairs.", "chair"),
        ("shelves", "shelf"),
        ("two chairs", "2 chair"),
        ("grey metres", "gray meter"),
        ("the left one", "left one"),
        ("retangular", "rectangular"),
        ("stainles steel", "stainless steel"),
        ("dark-blue", "dark blue"),
        ("-1", "-1"),
        ("\u22121", "-1"),
        ("1/2 meters", "1/2 metre"),
        ("lunchbox", "lunch box"),
        ("2 retangular tables", "two rectangular tables"),
    ],
)
def test_forgiven(prediction: str, answer: str) -> None:
    assert tolerant_match(prediction, answer)
    assert tolerant_match(answer, prediction)


@pytest.mark.parametrize(
    ("prediction", "answer"),
    [
        ("", "chair"),
        ("...", "chair"),
        ("the", "a"),
        ("13", "12"),
        ("-1", "1"),
        ("2.5", "25"),
        ("version 11 of twelve", "version 12 of twelve"),
        ("table", "tablet"),
        ("symmetrical", "asymmetrical"),
        ("yes", "no"),
        ("not red", "red"),
        ("red", "red or blue"),
        ("the couch in the picture is tan", "the couch in the picture is red"),
        ("the couch in the picture is big", "the couch in the picture is bright"),
        ("a very large rectangular table", "a very large rectangular wooden table"),
        ("1 2", "12"),
        ("1 2", "1/2"),
        ("1 2", "½"),
        ("\u22121", "1"),
    ],
)
def test_not_forgiven(prediction: str, answer: str) -> None:
    assert not tolerant_match(prediction, answer)
    assert not tolerant_match(answer, prediction)


def test_another_option_that_is_as_near_is_what_was_said() -> None:
    assert tolerant_match("rectangulr", "rectangular")
    assert tolerant_match("rectangulr", "rectangular", ["round", "rectangular"])
    assert not tolerant_match("chairs", "chair", ["chair", "chairs"])
    assert not tolerant_match("multicolors", "multicolored", ["multicolored", "multicolor"])


@given(st.text(max_size=20), st.text(max_size=20))
def test_similarity_is_symmetric_and_between_zero_and_one(first: str, second: str) -> None:
    assert similarity(first, second) == similarity(second, first)
    assert 0 <= similarity(first, second) <= 1


@given(st.text(max_size=20))
def test_no_text_fails_and_what_is_exact_is_tolerant(text: str) -> None:
    assert not tolerant_match(text, "\n")
    assert tolerant_match(f"x{text}", f"x{text}")
