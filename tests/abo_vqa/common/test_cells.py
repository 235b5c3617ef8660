"""A cell is read one way whatever wrote it: missing values, booleans, numbers, and options in every form."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from abo_vqa.common.cells import (
    answer_in,
    is_index_column,
    is_missing,
    one_answer,
    place_in,
    read_options,
    spelled,
    text_in,
    without_fractions,
    words_in,
)

COLORS = ["red", "blue", "green"]


@pytest.mark.parametrize(
    "cell",
    [None, float("nan"), Decimal("NaN"), *"nan NaN -nan <NA> NaT None NULL null NA N/A n/a #N/A".split(), "", " \t"],
)
def test_a_missing_value_is_missing_in_every_spelling(cell: Any) -> None:
    assert is_missing(cell) and text_in(cell) == "" == answer_in(cell)


@pytest.mark.parametrize("cell", ["none", "nano", "Nate", "0", 0, False, "nil", "no"])
def test_a_word_is_not_missing(cell: Any) -> None:
    assert not is_missing(cell) and text_in(cell)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (True, "yes"),
        ("False", "no"),
        ("TRUE", "yes"),
        (7.0, "7"),
        (7, "7"),
        (0.1, "0.1"),
        (Decimal("2.50"), "2.50"),
        (2**53 + 1, "9007199254740993"),
        (" Re\u200bd ", "Red"),
        ("\uff32ed", "Red"),
    ],
)
def test_scalars_have_one_spelling(cell: Any, text: str) -> None:
    assert answer_in(cell) == text


@pytest.mark.parametrize(
    ("cell", "form"),
    [
        (["red"], "a list"),
        ({"a": 1, "b": 2}, "an object of a, b"),
        (b"red", "a bytes"),
        (date(2026, 1, 1), "a date"),
        (float("inf"), "infinity"),
    ],
)
def test_another_form_is_refused_by_name(cell: Any, form: str) -> None:
    with pytest.raises(ValueError, match=f"^{form}, not a text or a number$"):
        words_in(cell)
    if not isinstance(cell, list):
        with pytest.raises(ValueError, match=f"an option is {form}"):
            read_options([cell, "blue"])


@pytest.mark.parametrize(
    "given",
    [
        COLORS,
        tuple(COLORS),
        [*COLORS, None, "", float("nan")],
        json.dumps(COLORS),
        str(COLORS),
        str(tuple(COLORS)),
        str(np.array(COLORS)),
        str(np.array(COLORS)).replace(" ", "\n "),
        repr(np.array(COLORS, dtype=object)),
        repr(list(np.array(COLORS))),
        "['red', 'blue', 'green', nan]",
        '["red", "blue", "green", null]',
        dict(zip("ABC", COLORS, strict=True)),
        dict(zip("CBA", reversed(COLORS), strict=True)),
        dict(zip("ABCD", [*COLORS, None], strict=True)),
        str(dict(zip("abc", COLORS, strict=True))),
        json.dumps(dict(zip("123", COLORS, strict=True))),
        {"option_a": "red", "option_b": "blue", "option_c": "green", "option_d": float("nan")},
        [{letter: color} for letter, color in zip("ABC", COLORS, strict=True)],
        [{"label": letter, "text": color} for letter, color in zip("ABC", COLORS, strict=True)],
        [{"text": color} for color in COLORS],
        {"label": ["A", "B", "C"], "text": COLORS},
        ["A) red", "B) blue", "C) green"],
        ["(C) green", "(a) red", "(B) blue", None],
        ["2. blue", "1. red", "3. green"],
        ["B blue", "A red", "C green"],
        "['A: red', 'B: blue', 'C: green']",
        {"text": COLORS[::-1], "label": ["C", "B", "A"]},
    ],
)
def test_options_are_read_in_every_form(given: Any) -> None:
    assert read_options(given).texts == COLORS


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("red, blue", "the options are the text 'red, blue', no list in JSON or Python"),
        ("red|blue", "the options are the text"),
        ("A) red B) blue", "the options are the text"),
        ("7", "the options are the text '7'"),
        ("[red, blue]", "the options are the text"),
        ("{'red', 'blue'}", "the options are the text"),
        ("['red', open('x')]", "the options are the text"),
        (7, "the options are a number, not a list"),
        (b"[]", "the options are a bytes, not a list"),
        ([["red", "blue"]], "an option is a list, not a text"),
        ("[['red'], ['blue']]", "an option is a list"),
        ("['red', ...]", "an option is an ellipsis, not a text or a number"),
        ([{"text": "red", "correct": True}], "an option is an object of text, correct"),
        ([{"A": "red"}, {"a": "blue"}], "the options have a letter or number twice: A, a"),
        ({"red": True, "blue": False}, "the options red, blue are neither all lettered nor all numbered"),
        ({"label": ["A"], "text": ["red", "blue"]}, "the options are an object of label, text, each a list"),
        ({"A": ["red"], "B": ["blue"]}, "the options are an object of A, B, each a list"),
        (["red", "<NA>", "blue"], r"option 2 \(B\) is empty, but a later one is not"),
    ],
)
def test_options_of_another_form_are_refused_by_name(given: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_options(given)


def test_a_text_that_looks_missing_may_be_an_option() -> None:
    assert read_options(["1", "None", "N/A"]).texts == ["1", "None", "N/A"]
    assert read_options("['1', 'None', None]").texts == ["1", "None"]


@pytest.mark.parametrize(
    "options", [["J. Doe", "A. Smith"], ["1.5", "2.5"], ["A+", "B+"], ["A lamp", "a chair"], ["A) red"]]
)
def test_what_only_begins_like_a_label_stays(options: list[str]) -> None:
    assert read_options(options).texts == options


def test_booleans_and_numbers_are_options_as_text_is() -> None:
    assert read_options([True, False]).texts == read_options("[True, False]").texts == ["yes", "no"]
    assert read_options(["True", "False"]).texts == read_options("[true, false]").texts == ["yes", "no"]
    assert read_options([1.0, 2, 0.1]).texts == read_options("[1. 2. 0.1]").texts == ["1", "2", "0.1"]


def test_numbered_options_have_their_numbers() -> None:
    assert read_options({"2": "blue", "1": "red"}).numbers == {"1": 0, "2": 1}
    assert read_options({"0": "red", "1": "blue", "2": None}).numbers == {"0": 0, "1": 1}
    assert read_options({"a": "red", "b": "blue"}).numbers == {}


@pytest.mark.parametrize(
    ("answers", "options", "is_index"),
    [
        ([0, 1, 2], COLORS, True),
        (["0", "2.0", None], COLORS, True),
        ([0.0, float("nan")], COLORS, True),
        ([1, 2], COLORS, False),  # from 1, or nobody has the first option
        ([1, 2, 3], COLORS, False),
        ([0, "red"], COLORS, False),
        ([True, False], COLORS, False),
        ([0, 1], ["0", "1", "2"], False),
        ([0, 1], ["1", "2", "3"], True),
        ([1, 2], ["1", "2", "3"], False),
        ([None], COLORS, False),
        (["00", "01"], COLORS, False),
    ],
)
def test_a_column_of_indices(answers: list[Any], options: list[str], is_index: bool) -> None:
    assert is_index_column(answers, [options] * len(answers)) == is_index


def test_an_index_is_within_the_options() -> None:
    assert [place_in(index, COLORS) for index in (0, "1", 2.0, "2.0")] == [0, 1, 2, 2]
    for index in (3, -1, "red", None, True, 1.5):
        with pytest.raises(ValueError, match="is not in 0 to 2"):
            place_in(index, COLORS)


def test_a_gap_made_floats_of_a_column() -> None:
    assert without_fractions(["7.0", "", "8.0"]) == ["7", "", "8"]
    assert without_fractions(["7.0", "8.5", "nan"]) == ["7", "8.5", "nan"]
    assert without_fractions(["7.0", "8"]) == ["7.0", "8"]
    assert without_fractions(["7.0", None, 3]) == ["7", None, 3]


def test_several_answers_that_are_one() -> None:
    assert one_answer(["red", "Red."]) == one_answer("['red', 'red']") == one_answer("red") == "red"
    assert one_answer([True]) == "yes" and one_answer([]) == ""
    with pytest.raises(ValueError, match="several different answers: red, blue"):
        one_answer(["red", "blue"])


@pytest.mark.parametrize("text", ["[" * 3000, "{" * 3000, "'", "[1" + "0" * 5000 + "]", "\x00", "(1)(2)", "1 if", "\\"])
def test_any_text_is_spelled_or_not(text: str) -> None:
    spelled(text)
