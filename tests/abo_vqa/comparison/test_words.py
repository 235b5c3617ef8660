"""The answer in one sentence: its number, its direction and its interval, and what cannot be said."""

from typing import Any

import pytest

from abo_vqa.comparison.words import headlines


def comparison(*parts: dict[str, Any], code: str = "options shown") -> dict[str, Any]:
    names = {"first": "options", "second": "standard", "reasons": [], "planned": True}
    full = [names | {"against": part["condition"]} | part for part in parts]
    rows = [
        part | {"low": part["estimate"] - 0.02, "high": part["estimate"] + 0.02} for part in full if "estimate" in part
    ]
    return {"confidence": 0.95, "differences": rows, "verdict": {"questions": [{"code": code, "parts": full}]}}


def test_one_sentence_has_number_direction_and_interval() -> None:
    found = headlines(
        comparison(
            {"condition": "open", "answer": "not shown", "estimate": -0.0301},
            {"condition": "options", "answer": "not shown", "estimate": 0.01},
        )
    )
    assert found == [
        (
            "Did showing the options in training help?",
            "Not shown: the options arm is 3.0 points below the standard arm under `open` (95 % interval -5.0 to -1.0) "
            "and 1.0 points above it under `options` (-1.0 to +3.0).",
        )
    ]


def test_different_answers_are_told_apart_and_what_was_not_asked_is_told() -> None:
    [(_, sentence)] = headlines(
        comparison(
            {"condition": "open", "answer": "yes", "estimate": 0.1},
            {"condition": "matched", "answer": "unsaid", "reasons": [{"code": "not asked"}]},
        )
    )
    assert sentence == (
        "Yes: the options arm is 10.0 points above the standard arm under `open` (95 % interval +8.0 to +12.0); cannot "
        "be said, because no test question is kept under it: the options arm is not compared with the standard arm "
        "under `matched`."
    )


@pytest.mark.parametrize(("code", "question"), [("training", "Did training help?"), ("other", "In the other planned")])
def test_without_arms_that_show_options_another_question_comes_first(code: str, question: str) -> None:
    [(asked, _)] = headlines(comparison({"condition": "open", "answer": "no", "estimate": -0.1}, code=code))
    assert asked.startswith(question)
