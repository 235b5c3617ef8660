"""Scores of generated texts, checked against answers counted by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abo_vqa.common.errors import InputError
from abo_vqa.metrics.answers import (
    ANSWER_METRICS,
    MEANS,
    RANKINGS,
    baseline,
    check_micro_average,
    exact_match,
    expected_calibration_error,
    macro_f1,
    score_answers,
    summarize,
    token_f1,
)


class OnesForEqual:
    """A stand-in for BERTScore that can be worked out in the head."""

    def score(self, predictions, answers):
        return np.array([[float(p == a)] * 3 for p, a in zip(predictions, answers, strict=True)]).reshape(-1, 3)


def question(qa_id: str, kind: str, answer: str, *others: str, image: str = "i1") -> dict:
    options = [answer, *others]
    named = {"qa_id": qa_id, "image_id": image, "image_group": f"like {image}", "shown_image": image}
    return named | {"question_type": kind, "answer": answer, "options": options}


def answered(row: dict, said: list[str], condition: str = "options", **changes: Any) -> dict:
    """An answer as inference.ask returns it, a text for each order; all options are equally likely by default."""
    count = len(row["options"])
    return row | {
        "condition": condition,
        "shown": condition != "open",
        "generated": said,
        "log_probabilities": [[-1.0] * count] * len(said),
        "lengths": [[2] * count] * len(said),
        "prior": [0.0] * count,
        **changes,
    }


def scored(rows: list[dict], said: list, condition: str = "options", **changes: Any) -> pd.DataFrame:
    """Score one text a question, or one for each order of the options."""
    texts = [[text] if isinstance(text, str) else text for text in said]
    answers = [answered(row, each, condition, **changes) for row, each in zip(rows, texts, strict=True)]
    return score_answers(pd.DataFrame(answers), OnesForEqual())


QUESTIONS = [
    question("q1", "color", "red", "blue", "green", "black"),
    question("q2", "color", "blue", "red", "green", "black"),
    question("q3", "counting", "2", "1", "3", "4"),
    question("q4", "yes/no", "yes", "no", "maybe", "partially", image="i2"),
]


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
    table = scored(QUESTIONS, given_answers)
    assert list(table["prediction"]) == ["red", "purple", "2", ""]
    assert list(table["correct"]) == [True, False, True, False]
    assert list(table["generated"]) == [[text] for text in given_answers]

    summary = summarize(table)
    total = summary["options"]["total"]
    assert (total["n"], total["accuracy"], total["unparsable"], total["bertscore_f1"]) == (4, 0.5, 0.5, 0.5)
    color = summary["options"]["by_type"]["color"]
    assert (color["n"], color["accuracy"], color["unparsable"]) == (2, 0.5, 0.5)
    assert color["macro_f1"] == pytest.approx((1 + 0) / 2)
    assert set(summary["options"]["by_type"]) == {"color", "counting", "yes/no"}
    assert list(table["image_group"]) == ["like i1"] * 3 + ["like i2"]


def test_chance_is_a_guess_among_the_options_that_the_question_leaves_open():
    rows = [question("q5", "comparison", "wider", "taller"), question("q6", "color", "red", "blue", "green")]
    found = summarize(scored([*QUESTIONS, *rows], ["red"] * 6))["options"]
    by_type = {kind: row["chance"] for kind, row in found["by_type"].items()}
    # Nobody who can read answers "maybe" to a question for yes or no.
    assert by_type == {
        "color": pytest.approx((1 / 4 + 1 / 4 + 1 / 3) / 3),
        "counting": 0.25,
        "yes/no": 0.5,
        "comparison": 0.5,
    }
    assert found["total"]["chance"] == pytest.approx((3 / 4 + 1 / 3 + 2 / 2) / 6)


def test_under_open_only_an_empty_prediction_is_unparsable():
    table = scored(QUESTIONS, ["red", "purple", "2", " ."], "open")
    assert summarize(table)["open"]["total"]["unparsable"] == 0.25


def test_options_are_compared_after_normalisation():
    row = question("q1", "counting", "two", "one", "three", "four")
    table = scored([row], ["2"])
    total = summarize(table)["options"]["total"]
    assert (total["accuracy"], total["macro_f1"], total["unparsable"]) == (1, 1, 0)


def test_rows_micro_average_to_the_total_and_a_broken_one_is_refused():
    parts = [scored(QUESTIONS, ["red", "x", "2", "no"], name) for name in ("open", "options")]
    summary = summarize(pd.concat(parts, ignore_index=True))
    check_micro_average(summary)
    for name in ("accuracy", "unparsable", "bertscore_f1", "token_f1", "ranked_pmi"):
        broken = {"open": {**summary["open"], "total": {**summary["open"]["total"], name: 0.9}}}
        with pytest.raises(InputError, match=name):
            check_micro_average(broken)
    del summary["options"]["by_type"]["color"]
    with pytest.raises(InputError, match="2 questions, the total 4"):
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
    summary = summarize(scored(rows, [said for *_, said in drawn]))
    check_micro_average(summary)
    right = sum(answer == said for _, answer, said in drawn)
    assert summary["options"]["total"]["accuracy"] == pytest.approx(right / len(drawn))


def test_a_question_is_right_if_it_is_in_every_order():
    said = [["red"] * 4, ["blue", "blue", "red", "blue"], ["3"] * 4, ["yes", "no", "yes", "perhaps"]]
    table = scored(QUESTIONS, said, "circular")
    assert list(table["correct"]) == [True, False, False, False]
    assert list(table["prediction"]) == ["red", "", "3", ""]
    assert list(table["unparsable"]) == [False, False, False, True]
    assert list(table["token_f1"]) == [1, 0.75, 0, 0.5]
    assert list(table["bertscore_f1"]) == [1, 0.75, 0, 0.5]


def test_options_are_ranked_three_ways():
    row = question("q1", "color", "dark red", "red", "teal", "blue")
    table = scored([row], ["?"], log_probabilities=[[-3.0, -2.5, -4.0, -9.0]], prior=[-6.0, 0.0, -8.0, 0.0])
    [found] = table.to_dict("records")
    assert not found["ranked"], "red is likelier"
    assert not found["ranked_pmi"], "teal gains most from being asked"
    assert found["probabilities"] == pytest.approx(
        np.exp([-3, -2.5, -4, -9]) / np.exp([-3, -2.5, -4, -9]).sum(), abs=1e-6
    )
    assert scored([row], ["?"], log_probabilities=[[-1.0, -2.5, -4.0, -9.0]])["ranked"].all()


def test_an_option_of_more_tokens_is_ranked_by_their_mean():
    row = question("q1", "color", "dark red", "red")
    table = scored([row], ["red"], log_probabilities=[[-4.0, -3.0]], lengths=[[4, 2]])
    [found] = table.to_dict("records")
    assert (found["ranked"], found["ranked_per_token"]) == (False, True)


def test_accuracy_by_the_place_of_the_right_option():
    rows = [question(f"q{n}", "color", "red", "blue") for n in range(3)]
    rows.append(rows[0] | {"qa_id": "q3", "options": ["blue", "red"]})
    table = scored(rows, ["red", "red", "blue", "blue"])
    positions = summarize(table)["options"]["by_position"]
    assert {place: (row["n"], row["accuracy"]) for place, row in positions.items()} == {"0": (3, 2 / 3), "1": (1, 0)}
    assert summarize(scored(rows, ["red"] * 4, "open"))["open"]["by_position"] == {}


def test_every_metric_of_an_answer_is_in_the_summaries():
    said = ["red", "dark blue", "2", "maybe"]
    table = scored(QUESTIONS, said)
    summary = summarize(table)
    assert ANSWER_METRICS.keys() <= set(MEANS)
    for name, metric in ANSWER_METRICS.items():
        values = [metric(text, row["answer"]) for text, row in zip(said, QUESTIONS, strict=True)]
        assert list(table[name]) == values
        assert summary["options"]["total"][name] == pytest.approx(np.mean(values))
        assert summary["options"]["by_type"]["color"][name] == pytest.approx(np.mean(values[:2]))


def test_token_f1_by_hand():
    assert token_f1("dark red", "red") == pytest.approx(2 / 3)
    assert (token_f1("", "red"), token_f1("blue", "red"), token_f1("red", "red")) == (0, 0, 1)


def test_calibration_by_hand():
    # 0.9 and right twice of four, 0.55 and right once of one.
    rows = [[0.9, 0.1]] * 4 + [[0.55, 0.45]]
    right = [True, True, False, False, True]
    assert expected_calibration_error(rows, right) == pytest.approx((4 * 0.4 + 0.45) / 5)
    assert expected_calibration_error([[1.0, 0.0]], [True]) == 0


def test_bertscore_is_rescaled_by_what_different_answers_score():
    class Fixed:
        def score(self, predictions, answers):
            return np.array([[1.0] * 3 if p == a else [0.6] * 3 for p, a in zip(predictions, answers, strict=True)])

    assert baseline(["blue", "red"], Fixed()) == pytest.approx([0.6] * 3)
    assert baseline(["red"], Fixed()) == pytest.approx([0] * 3), "nothing to compare"
    row = question("q1", "color", "red", "blue")
    rows = [row, row | {"qa_id": "q2", "answer": "blue"}]
    table = score_answers(pd.DataFrame([answered(each, ["red"]) for each in rows]), Fixed())
    assert list(table["bertscore_f1"]) == [1, 0.6]
    assert list(table["bertscore_f1_rescaled"]) == pytest.approx([1, 0])


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf"), None])
def test_fraud_a_probability_that_is_no_number_is_named(number: float | None):
    """Parquet has None in place of a nested NaN."""
    says = r"base: question q1 under options: the log-probability of 'blue' is (nan|inf|-inf), not finite"
    for spoiled in ({"log_probabilities": [[-1.0, number, -1.0, -1.0]]}, {"prior": [0.0, number, 0.0, 0.0]}):
        answers = pd.DataFrame([answered(QUESTIONS[0], ["red"], **spoiled)])
        with pytest.raises(InputError, match=says):
            score_answers(answers, OnesForEqual(), "base")


@pytest.mark.parametrize("place", range(4))
def test_fraud_a_tie_is_not_won_by_the_right_option(place: int):
    options = ["blue", "green", "black"]
    options.insert(place, "red")
    row = question("q1", "color", "red", "?") | {"options": options}
    for name in RANKINGS:
        assert not scored([row], ["red"])[name].any(), "all are equally likely"
    likelier = [[-1.0 if option == "red" else -1.5 for option in options]]
    assert scored([row], ["red"], log_probabilities=likelier)[list(RANKINGS)].all(axis=None)


def circular(chosen: Callable[[int], int]) -> pd.DataFrame:
    """The score of a sure model in four orders; chosen: the place of its choice in each, among the options as shown."""
    rotated = [(chosen(start) + start) % 4 for start in range(4)]
    scores = [[0.0 if option == choice else -9.0 for option in range(4)] for choice in rotated]
    said = [QUESTIONS[0]["options"][choice] for choice in rotated]
    return scored(QUESTIONS[:1], [said], "circular", log_probabilities=scores)


def test_fraud_a_position_rule_is_right_in_no_order_of_all_and_not_sure():
    table = circular(lambda start: 0)
    assert not table["correct"].any() and not table["ranked"].any()
    total = summarize(table)["circular"]["total"]
    assert (total["accuracy"], total["ranked"]) == (0, 0)
    assert total["ece"] < 0.01, "each option is unlikely in some order, so nothing is claimed"


def test_confidence_and_success_are_of_one_event():
    """That the likeliest option is chosen in every order: sure and right is calibrated, sure and wrong is not."""
    right, wrong = circular(lambda start: -start % 4), circular(lambda start: (1 - start) % 4)
    assert right["ranked"].all() and summarize(right)["circular"]["total"]["ece"] < 0.01
    assert not wrong["ranked"].any() and summarize(wrong)["circular"]["total"]["ece"] > 0.99
    # In one of two orders 0.6, in the other 0.9: in both at most 0.6, while the mean would claim 0.75.
    scores = [[float(np.log(share)), float(np.log(1 - share))] for share in (0.6, 0.9)]
    table = scored([question("q1", "color", "red", "blue")], [["red", "red"]], "circular", log_probabilities=scores)
    assert table["probabilities"][0] == pytest.approx([0.6, 0.1])
    assert summarize(table)["circular"]["total"]["ece"] == pytest.approx(0.4)


def test_fraud_a_gain_by_the_form_of_answers_alone_is_none_where_options_are_ranked():
    likely = {"log_probabilities": [[-1.0, -2.0, -3.0, -4.0]]}
    before, after = scored(QUESTIONS, ["It is red!", "so blue", "?", ""], **likely), scored(
        QUESTIONS, ["red", "blue", "1", "no"], **likely)  # fmt: skip
    first, second = (summarize(table)["options"]["total"] for table in (before, after))
    assert (first["accuracy"], second["accuracy"]) == (0, 0.5)
    assert (first["unparsable"], second["unparsable"]) == (1, 0)
    assert first["ranked"] == second["ranked"] == 1


def test_questions_without_options_have_no_ranking_chance_or_calibration() -> None:
    bare = question("q1", "color", "red") | {"options": []}
    kept = question("q2", "color", "red", "blue", "green", "gray")
    scores = scored([bare, kept], ["Red", "blue"], "open")
    assert scores[list(RANKINGS)].isna().any(axis=1).tolist() == [True, False]
    assert scores["answer_index"].tolist() == [-1, 0]
    total = summarize(scores)["open"]["total"]
    assert (total["n"], total["accuracy"], total["chance"], total["ranked"]) == (2, 0.5, 0.25, 0.0)
    alone = summarize(scored([bare], ["Red"], "open"))["open"]["total"]
    assert (alone["n"], alone["accuracy"]) == (1, 1.0)
    assert not {"ece", "chance", *RANKINGS} & set(alone)
    assert all(value == value for value in alone.values())
