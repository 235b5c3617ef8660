"""Answers against the catalogue: what is compared, what is not, and that planted errors are found, each of them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from abo_vqa.common.params import Params
from abo_vqa.common.schema import RawOutput
from abo_vqa.common.words import BASIC_COLORS
from abo_vqa.generators.metadata import generate_from_metadata
from abo_vqa.questions.label_truth import CONTRADICTS, contradictions
from abo_vqa.questions.schema import Question
from abo_vqa.questions.validate import curate
from small_archives import image_path, listing

SHOE = {
    "product_id": "p", "product_type": "SHOES", "item_name": "Running Shoe for Men, laces", "color": "Dark Blue",
    "material": "Leather", "shape": None, "english": ["color", "material"],
}  # fmt: skip


def asked(question: str, answer: str, kind: str = "color", qa_id: str = "q", product: str = "p") -> Question:
    return Question(qa_id, product, "image.jpg", "vlm", kind, question, answer, (answer, "other"), kind)


@pytest.mark.parametrize(
    ("question", "answer", "kind", "contradicts"),
    [
        ("What color is the shoe?", "blue", "color", False),
        ("What color is the shoe?", "Light Blue", "color", False),
        ("What is the primary color of the shoes?", "red", "color", True),
        ("Which color does the product have?", "black", "color", True),
        ("What material is the shoe made of?", "leather", "material", False),
        ("What is the material of this item?", "steel", "material", True),
        # A part, another thing, and a part that the name happens to have.
        ("What color is the sole?", "white", "color", None),
        ("What color is the background of the shoe?", "white", "color", None),
        ("What color is the shoe on the left?", "white", "color", None),
        # No common color, several, or no fact.
        ("What color is the shoe?", "teal", "color", None),
        ("What color is the shoe?", "black and white", "color", None),
        ("What shape is the product?", "round", "shape", None),
        ("How many shoes are there?", "2", "counting", None),
    ],
)
def test_what_is_compared(question: str, answer: str, kind: str, contradicts: bool | None) -> None:
    shares, wrong = contradictions([asked(question, answer, kind)], [SHOE])
    assert wrong == ({"q"} if contradicts else set())
    assert [found["compared"] for found in shares.values()] == ([] if contradicts is None else [1])


@pytest.mark.parametrize("change", [{"english": []}, {"color": "black/white"}, {"color": None}, {"color": "Noir"}])
def test_a_listing_without_one_english_color_is_no_referee(change: dict[str, Any]) -> None:
    question = asked("What color is the shoe?", "red")
    assert contradictions([question], [SHOE | change]) == ({}, set())
    assert contradictions([question], []) == ({}, set()), "a product that was not sampled"


@given(st.lists(st.sampled_from(sorted(set(BASIC_COLORS) - {"grey"})), min_size=1, max_size=60))
def test_the_share_is_that_of_the_answers_that_differ(answers: Sequence[str]) -> None:
    questions = [asked("What color is it?", answer, qa_id=str(place)) for place, answer in enumerate(answers)]
    shares, wrong = contradictions(questions, [SHOE])
    expected = {str(place) for place, answer in enumerate(answers) if answer != "blue"}
    assert wrong == expected
    found = shares["color"]
    assert (found["compared"], found["contradict"]) == (len(answers), len(expected))
    assert found["low"] <= found["share"] <= found["high"]


@pytest.fixture(scope="module")
def written() -> tuple[list[RawOutput], list[dict[str, Any]]]:
    """Questions written from listings, which cannot contradict them, and these listings."""
    listings = [listing(number) for number in range(600)]
    products = [(one, image_path(number)) for number, one in enumerate(listings)]
    rows = [msgspec.structs.asdict(one) | {"product_id": one.product_id} for one in listings]
    return generate_from_metadata(products, 1).outputs, rows


def test_questions_written_from_the_listings_do_not_contradict_them_and_planted_errors_are_found(
    written: tuple[list[RawOutput], list[dict[str, Any]]], tiny_params: Params
) -> None:
    outputs, rows = written
    params = tiny_params.validate_
    clean = curate(outputs, params, 1, rows)
    truth = clean.report["against_listings"]
    assert truth["color"]["compared"] > 100 and not any(found["contradict"] for found in truth.values())
    questions = [question for question in clean.clean if question.question_type == "color"]
    _, none = contradictions(questions, rows)
    assert none == set()
    planted = {question.qa_id for question in questions[::10]}
    changed = [
        replace(q, answer=next(option for option in q.options if option != q.answer)) if q.qa_id in planted else q
        for q in questions
    ]
    shares, wrong = contradictions(changed, rows)
    # A distractor that is no common color cannot be compared, and is no error then.
    comparable = {q.qa_id for q in changed if q.qa_id in planted and q.answer in BASIC_COLORS}
    assert wrong == comparable and len(wrong) >= 0.9 * len(planted)
    assert shares["color"]["low"] < 0.1 < shares["color"]["high"]


def test_contradicting_answers_can_be_quarantined_and_the_accounts_close(
    written: tuple[list[RawOutput], list[dict[str, Any]]], tiny_params: Params
) -> None:
    outputs, rows = written
    wrong = [row | {"color": "Orange" if row["color"] != "Orange" else "Pink"} for row in rows]
    kept = curate(outputs, tiny_params.validate_, 1, wrong)
    found = kept.report["against_listings"]["color"]["contradict"]
    assert found > 100
    strict = tiny_params.validate_.model_copy(update={"contradicted": "quarantine"})
    curated = curate(outputs, strict, 1, wrong)
    assert curated.report["quarantined_by_reason"][CONTRADICTS] == found
    assert len(curated.clean) == len(kept.clean) - found
    assert curated.report["against_listings"] == kept.report["against_listings"], "measured before"
    refused = [question.qa_id for question, reasons in curated.quarantined if reasons == [CONTRADICTS]]
    assert len(refused) == found and not {q.qa_id for q in curated.clean} & set(refused)
    assert json.dumps(curated.report)
