"""The spelling in which questions, options and answers are compared."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abo_vqa.common.words import fold, normalize


@pytest.mark.parametrize(
    ("value", "folded"),
    [
        (" Red. ", "red"),
        ('"Blue"', "blue"),
        (3, "3"),
        (3.0, "3"),
        (2.5, "2.5"),
        ("3.0", "3.0"),
        (np.int64(3), "3"),
        (np.float32(2.5), "2.5"),
        (np.bool_(True), "yes"),
        (Decimal("3.00"), "3"),
        (Decimal("2.5"), "2.5"),
        (".5", "0.5"),
        ("(.5)", "0.5"),
        ("...5", "5"),
        ("**red**", "red"),
        ("_red_", "red"),
        ("ｒｅｄ", "red"),
        ("re\u00add\u200b", "red"),
        ("two\u00a0words…", "two words"),
        (-1, "-1"),
        ("\u22121", "-1"),
        ("T\u2011shirt 2\u20133", "t-shirt 2-3"),
        ("t-shirt", "t-shirt"),
        ("Two  Words", "two words"),
        (None, ""),
        (["red"], ""),
        ({"a": 1}, ""),
        pytest.param("red \ud800", "red", id="surrogate"),
        pytest.param(10**5000, "", id="huge"),
    ],
)
def test_folding(value, folded):
    assert fold(value) == folded


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Red", "red"),
        ("  red.\nBecause it is red.", "red"),
        ("'Dark   Blue'!", "dark blue"),
        ("two", "2"),
        ("Twenty.", "20"),
        ("3.0", "3"),
        ("-1.0.", "-1"),
        ("1.000", "1.000"),
        ("True", "yes"),
        ("False.", "no"),
        ("\u200b\nred", "red"),
        ("one piece", "one piece"),
        ("Grey.", "gray"),
        ("greyish-brown colour", "grayish-brown color"),
        ("gray", "gray"),
        ("3 metres", "3 meters"),
        ("-1", "-1"),
        ("", ""),
        (" \n ", ""),
        ("...", ""),
    ],
)
def test_normalize(text, expected):
    assert normalize(text) == expected


@given(st.text())
def test_normalising_twice_changes_nothing_and_gives_one_line(text):
    once = normalize(text)
    assert normalize(once) == once
    assert once == once.strip()
    assert len(once.splitlines()) <= 1
