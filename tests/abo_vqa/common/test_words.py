"""The spelling in which questions, options and answers are compared."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abo_vqa.common.words import clean_text, color_word, find_markup, fold, normalize, single_word


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
        ("红色。", "红色"),
        ("「红色」", "红色"),
        ("¿rojo?", "rojo"),
        ("أحمر؟", "أحمر"),
        ("«rouge»", "rouge"),
        ("Sofa (2 seats)", "sofa (2 seats)"),
        ("'red [x (y)].'", "red [x (y)]"),
        ("(red)", "red"),
        ("(red) (dark", "red) (dark"),
        ("red (dark )", "red (dark)"),
        ("。", ""),
        ("5′", "5′"),
        ("Two  Words", "two words"),
        (None, ""),
        (["red"], ""),
        ({"a": 1}, ""),
        pytest.param("red \ud800", "red \ufffd", id="surrogate"),
        (float("nan"), ""),
        (float("-inf"), ""),
        (Decimal("NaN"), ""),
        (np.float32("nan"), ""),
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


@pytest.mark.parametrize(
    "hidden",
    [
        "\u200b",
        "\u200d",
        "\ufeff",
        "\u00ad",
        "\u202e",
        "\u2066",
        "\ufe0f",
        "\U000e0101",
        "\U000e0041",
        "\u034f",
        "\u3164",
        "\u180e",
        "\x00",
        "\x7f",
    ],
)
def test_what_nobody_sees_makes_no_difference(hidden):
    seen = f"r{hidden}ed{hidden}"
    assert clean_text(seen) == "red" and fold(seen) == "red" == normalize(seen)
    assert single_word(seen) == color_word(seen) == "red"
    assert color_word(f"dark{hidden} re{hidden}d") == "red"
    assert find_markup(f"<im{hidden}age>") == "<image>"


@given(st.text())
def test_clean_text_is_clean(text):
    once = clean_text(text)
    once.encode()
    assert clean_text(once) == once
    assert clean_text(text.replace("\u00a0", " ")) == once


@pytest.mark.parametrize(
    "text",
    [
        "<image>\nWhat color?",
        "red</s>",
        "red<eos>",
        "<bos>red",
        "red<|im_end|>",
        "<|image_1|>",
        "<| end |>",
        "<start_of_turn>user",
        "[INST] What? [/INST]",
        "<<SYS>>",
        "＜image＞",
        "<｜end▁of▁sentence｜>",
        "<0x0A>",
        "<unused94>",
        "<loc0012>",
        "◁think▷",
        "[IMG]",
        "[mask]",
        "<IMG_CONTEXT>",
    ],
)
def test_special_tokens_are_found(text):
    assert find_markup(text)


@pytest.mark.parametrize("text", ["", "Is 3 < 5?", "i <3 u", "a<b", "2<3>1", "x > y", "[SALE]", "a [b] c", "<", "->"])
def test_other_text_has_no_special_tokens(text):
    assert find_markup(text) is None
