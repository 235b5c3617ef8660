"""Scores of generated texts, checked against answers counted by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abo_vqa.errors import InputError
from abo_vqa.measure.metrics import (
    check_micro_average,
    exact_match,
    flatten,
    macro_f1,
    normalise,
    score_answers,
    summarise,
)


class OnesForEqual:
    """A stand-in for BERTScore that can be worked out in the head."""

    def score(self, predictions, answers):
        return np.array([[float(p == a)] * 3 for p, a in zip(predictions, answers, strict=True)]).reshape(-1, 3)


def question(qa_id: str, kind: str, answer: str, *others: str, image: str = "i1") -> dict:
    return {"qa_id": qa_id, "image_id": image, "question_type": kind, "answer": answer, "options": [answer, *others]}


QUESTIONS = [
    question("q1", "color", "red", "blue", "green", "black"),
    question("q2", "color", "blue", "red", "green", "black"),
    question("q3", "counting", "2", "1", "3", "4"),
    question("q4", "yes/no", "yes", "no", "maybe", "partially", image="i2"),
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Red", "red"),
        ("  red.\nBecause it is red.", "red"),
        ("'Dark   Blue'!", "dark blue"),
        ("two", "2"),
        ("Twenty.", "20"),
        ("one piece", "one piece"),
        ("-1", "-1"),
        ("", ""),
        (" \n ", ""),
        ("...", ""),
    ],
)
def test_normalise(text, expected):
    assert normalise(text) == expected


@given(st.text())
def test_normalising_twice_changes_nothing_and_gives_one_line(text):
    once = normalise(text)
    assert normalise(once) == once
    assert once == once.strip()
    assert len(once.splitlines()) <= 1


def test_exact_match_is_after_normalisation_and_never_empty():
    assert exact_match("Two.", "2")
    assert exact_match("RED\nreally", "red")
    assert not exact_match("red one", "red")
    assert not exact_match("", "")


def test_macro_f1_by_hand():
    # red: precision 1/2, recall 1/2; blue: never predicted.
    assert macro_f1(["red", "red", "green"], ["red", "blue", "red"]) == pytest.approx((0.5 + 0) / 2)
    assert macro_f1(["red", "blue"], ["red", "blue"]) == 1


def test_an_invented_word_is_a_miss_but_no_class_of_its_own():
    # red: precision 1, recall 1/2, F1 2/3; blue: 1. With a class for "teal" the mean would be 5/9.
    assert macro_f1(["red", "teal", "blue"], ["red", "red", "blue"]) == pytest.approx((2 / 3 + 1) / 2)


def test_summary_by_hand():
    given_answers = ["Red.", "purple", "two", ""]
    table = score_answers(QUESTIONS, given_answers, "options", OnesForEqual())
    assert list(table["prediction"]) == ["red", "purple", "2", ""]
    assert list(table["correct"]) == [True, False, True, False]
    assert list(table["generated"]) == given_answers

    summary = summarise(table)
    total = summary["options"]["total"]
    assert (total["n"], total["accuracy"], total["unparsable"], total["bertscore_f1"]) == (4, 0.5, 0.5, 0.5)
    color = summary["options"]["by_type"]["color"]
    assert (color["n"], color["accuracy"], color["unparsable"]) == (2, 0.5, 0.5)
    assert color["macro_f1"] == pytest.approx((1 + 0) / 2)
    assert set(summary["options"]["by_type"]) == {"color", "counting", "yes/no"}


def test_under_open_only_an_empty_prediction_is_unparsable():
    table = score_answers(QUESTIONS, ["red", "purple", "2", " ."], "open", OnesForEqual())
    assert summarise(table)["open"]["total"]["unparsable"] == 0.25


def test_options_are_compared_after_normalisation():
    row = question("q1", "counting", "two", "one", "three", "four")
    table = score_answers([row], ["2"], "options", OnesForEqual())
    total = summarise(table)["options"]["total"]
    assert (total["accuracy"], total["macro_f1"], total["unparsable"]) == (1, 1, 0)


def test_rows_micro_average_to_the_total_and_a_broken_one_is_refused():
    parts = [score_answers(QUESTIONS, ["red", "x", "2", "no"], name, OnesForEqual()) for name in ("open", "options")]
    summary = summarise(pd.concat(parts, ignore_index=True))
    check_micro_average(summary)
    for name in ("accuracy", "unparsable", "bertscore_f1"):
        broken = {"open": {**summary["open"], "total": {**summary["open"]["total"], name: 0.9}}}
        with pytest.raises(InputError, match=name):
            check_micro_average(broken)
    del summary["options"]["by_type"]["color"]
    with pytest.raises(InputError, match="hold 2 questions, the total 4"):
        check_micro_average(summary)


@given(
    st.lists(
        st.tuples(st.sampled_from(["color", "shape", "yes/no"]), st.sampled_from("abcd"), st.sampled_from("abcd?")),
        min_size=1,
        max_size=30,
    )
)
def test_any_answers_micro_average(drawn):
    rows = [question(f"q{i}", kind, answer, *"abcd") for i, (kind, answer, _) in enumerate(drawn)]
    summary = summarise(score_answers(rows, [said for *_, said in drawn], "options", OnesForEqual()))
    check_micro_average(summary)
    right = sum(answer == said for _, answer, said in drawn)
    assert summary["options"]["total"]["accuracy"] == pytest.approx(right / len(drawn))


def test_flat_names_have_no_slash_from_the_type():
    flat = flatten(summarise(score_answers(QUESTIONS, ["red", "x", "2", "no"], "options", OnesForEqual())))
    assert flat["options/accuracy"] == 0.5
    assert flat["options/yes_no/accuracy"] == 0.0
    assert flat["options/counting/n"] == 1.0
    assert all(isinstance(value, float) for value in flat.values())


def test_one_text_per_question():
    with pytest.raises(InputError, match="3 generated texts for 4 questions"):
        score_answers(QUESTIONS, ["red"] * 3, "open", OnesForEqual())
