"""The image of another product: the question has another answer there, whatever the order of the rows."""

import random
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abo_vqa.inference.conditions.other_images import other_images

Row = dict[str, Any]


def row(image: str, kind: str, question: str, answer: str, group: str = "") -> Row:
    named = {"qa_id": f"{image}: {question}", "image_id": image, "image_group": group or image}
    return named | {"question_type": kind, "question": question, "answer": answer}


def product(image: str, noun: str, color: str, material: str, yes: str = "", group: str = "") -> list[Row]:
    """The questions about a product; yes: the color that is asked for, by default its own."""
    asked = yes or color
    return [
        row(image, "color", f"What color is the {noun}?", color, group),
        row(image, "material", f"What is the {noun} made of?", material, group),
        row(image, "yes/no", f"Is the {noun} {asked}?", "yes" if asked == color else "no", group),
    ]


def drawn(rows: list[Row], seed: int = 1) -> dict[str, str]:
    return other_images(rows, seed)


def test_the_same_question_has_another_answer_there() -> None:
    rows = [*product("a", "chair", "red", "wood"), *product("b", "chair", "blue", "wood")]
    assert drawn(rows) == {"a: What color is the chair?": "b", "b: What color is the chair?": "a"}


def test_an_image_with_the_same_answer_to_the_same_question_is_not_drawn() -> None:
    rows = [row("a", "color", "Color?", "red"), row("b", "color", "Color?", "red"), row("b", "color", "color", "blue")]
    assert drawn(rows) == {"b: color": "a"}, "b is red, too"


@pytest.mark.parametrize("seed", range(8))
def test_without_the_same_question_the_one_about_another_product_counts(seed: int) -> None:
    """That a lamp or a chair is not teal does not tell whether it is red; that the table is not red does."""
    rows = [
        *product("a", "chair", "red", "wood"),
        row("a", "yes/no", "Does the chair look red?", "yes"),
        *product("b", "sofa", "red", "leather"),
        *product("c", "table", "blue", "wood", yes="red"),
        *product("d", "lamp", "blue", "steel", yes="teal"),
    ]
    found = drawn(rows, seed)
    assert found["a: Is the chair red?"] == "c"
    assert found["a: What color is the chair?"] in ("c", "d")
    assert found["a: What is the chair made of?"] in ("b", "d")
    rows += [*product("e", "chair", "blue", "steel", yes="teal"), row("e", "yes/no", "Does the chair look teal?", "no")]
    found = drawn(rows, seed)
    assert found["a: Is the chair red?"] == "c"
    assert found["a: What color is the chair?"] == found["a: What is the chair made of?"] == "e"


def test_in_the_end_any_question_of_the_type_counts() -> None:
    rows = [row("a", "counting", "How many legs?", "4"), row("b", "counting", "How many drawers are there?", "3")]
    assert drawn(rows) == {rows[0]["qa_id"]: "b", rows[1]["qa_id"]: "a"}
    assert drawn([*rows[:1], row("b", "color", "Color?", "red")]) == {}


def test_no_look_alike_is_drawn() -> None:
    rows = [row(name, "color", "Color?", answer, "twins") for name, answer in (("a", "red"), ("b", "blue"))]
    assert drawn(rows) == {}
    assert set(drawn([*rows, row("c", "color", "Color?", "teal")]).values()) <= {"a", "b", "c"}
    assert drawn([*rows, row("c", "color", "Color?", "teal")])["a: Color?"] == "c"


def test_one_image_serves_as_many_questions_as_it_can() -> None:
    rows = [
        *product("a", "chair", "red", "wood"),
        *product("b", "chair", "blue", "wood"),
        *product("c", "chair", "red", "steel"),
        *product("d", "chair", "teal", "glass", yes="red"),
    ]
    assert {other for qa_id, other in drawn(rows).items() if qa_id.startswith("a")} == {"d"}


@pytest.mark.parametrize("count", [0, 1])
def test_few_images_have_none(count: int) -> None:
    assert drawn(product("a", "chair", "red", "wood") * count) == {}


COLORS, MATERIALS, NOUNS = ["red", "blue", "teal"], ["wood", "steel"], ["chair", "sofa", "lamp"]
products = st.lists(
    st.tuples(st.sampled_from(NOUNS), st.sampled_from(COLORS), st.sampled_from(MATERIALS), st.sampled_from(COLORS)),
    max_size=8,
)


@given(products, st.integers(0, 9))
def test_any_draw_keeps_its_promises(found: list[tuple[str, str, str, str]], seed: int) -> None:
    rows = [
        each
        for number, (noun, color, material, yes) in enumerate(found)
        for each in product(f"i{number}", noun, color, material, yes, group=f"g{number // 2}")
    ]
    by_image: dict[str, list[Row]] = defaultdict(list)
    for each in rows:
        by_image[each["image_id"]].append(each)
    others = drawn(rows, seed)
    for each in rows:
        if (other := others.get(each["qa_id"])) is None:
            continue
        there = by_image[other]
        assert there[0]["image_group"] != each["image_group"]
        assert any(r["question_type"] == each["question_type"] and r["answer"] != each["answer"] for r in there)
        assert not any(r["question"] == each["question"] and r["answer"] == each["answer"] for r in there)
    shuffled = random.Random(seed).sample(rows, len(rows))
    assert drawn(shuffled, seed) == others
