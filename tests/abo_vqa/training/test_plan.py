"""What training shows in which order, drawn from the seed; labels other than the answer are refused."""

from itertools import groupby
from statistics import mean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params
from abo_vqa.common.params.model import ArmParams
from abo_vqa.model.base.loading import load_processor
from abo_vqa.model.collators import IGNORED, QuestionCollator
from abo_vqa.training.plan import (
    audit_labels,
    refuse_special_tokens,
    training_plan,
    training_questions,
    validation_questions,
)

ALWAYS = ArmParams(options_first=1.0, options_last=1.0)
NEVER = ArmParams(options_first=0.0, options_last=0.0)


def test_the_audit_refuses_the_papers_labels(
    tiny_params: Params, rows: list[dict[str, Any]], images: dict[str, bytes]
) -> None:
    class PromptTail(QuestionCollator):
        """Un-masks the end of the prompt and never appends the answer, as the paper's collator does."""

        def __call__(self, examples: Any) -> dict[str, Any]:
            batch = super().__call__(examples)
            shifted = batch["input_ids"].roll(4, dims=1)
            batch["labels"][batch["labels"] != IGNORED] = shifted[batch["labels"] != IGNORED]
            return batch

    processor = load_processor(tiny_params.model)
    dataset = training_questions(rows, ALWAYS, 1, 3, by_image=False)
    assert "labels: " in audit_labels(QuestionCollator(processor, images, 4096), dataset)
    with pytest.raises(InputError, match="the labels decode to"):
        audit_labels(PromptTail(processor, images, 4096), dataset)


@pytest.mark.parametrize("changed", ["question", "answer", "options"])
def test_special_tokens_of_the_model_are_refused_before_training(
    changed: str, tiny_params: Params, rows: list[dict[str, Any]]
) -> None:
    tokenizer = load_processor(tiny_params.model).tokenizer
    refuse_special_tokens(tokenizer, rows)
    odd = "<image>\nred"
    bad = [*rows, rows[0] | {"qa_id": "odd", changed: ["a", odd] if changed == "options" else odd}]
    with pytest.raises(InputError, match=r"question odd: '<image>..?nred' contains <image>, a special token"):
        refuse_special_tokens(tokenizer, bad)


def images_of(questions: int) -> list[str]:
    """Three questions an image, those of one image not side by side."""
    return [f"image-{index % max(1, questions // 3)}" for index in range(questions)]


@given(st.integers(1, 60), st.floats(0.1, 3), st.integers(0, 2**32 - 1), st.booleans())
def test_the_plan_shows_every_question_once_an_epoch(questions: int, epochs: float, seed: int, by_image: bool) -> None:
    plan = training_plan(images_of(questions), epochs, ALWAYS, seed, by_image)
    assert len(plan) == round(questions * epochs)
    for start in range(0, len(plan), questions):
        epoch = [index for index, _ in plan[start : start + questions]]
        assert len(set(epoch)) == len(epoch)


@given(st.lists(st.integers(1, 7), min_size=1, max_size=30), st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_within_a_step_the_questions_of_an_image_stay_together(sizes: list[int], seed: int, per_step: int) -> None:
    images = [f"image-{number}" for number, size in enumerate(sizes) for _ in range(size)]
    plan = training_plan(images, 2, ALWAYS, seed, by_image=True, per_step=per_step)
    for start in range(0, len(plan), per_step):
        places = range(start, min(start + per_step, len(plan)))
        # An image's second epoch may begin in the step that ends its first.
        shown = [(images[plan[place][0]], place // len(images)) for place in places]
        assert len(list(groupby(shown))) == len(set(shown))


def test_images_are_divided_between_steps_only_where_nothing_else_fits() -> None:
    sizes = [1, 5, 4, 5, 3, 5] * 60
    images = [f"image-{number}" for number, size in enumerate(sizes) for _ in range(size)]
    plan = [images[index] for index, _ in training_plan(images, 2, ALWAYS, 1, by_image=True, per_step=18)]
    parts = sum(len(set(plan[start : start + 18])) for start in range(0, len(plan), 18))
    assert parts - 2 * len(sizes) <= 5, "at fixed places every fourth image is divided"


def test_images_of_few_questions_are_not_asked_first() -> None:
    sizes = [3, *[5] * 8] * 60  # 5 + 5 + 5 + 3 fill a step, for as long as there are threes
    images = [f"image-{number}" for number, size in enumerate(sizes) for _ in range(size)]
    found = []
    for seed in range(4):
        plan = [index for index, _ in training_plan(images, 1, ALWAYS, seed, by_image=True, per_step=18)]
        found += [place / len(plan) for place, index in enumerate(plan) if sizes[int(images[index][6:])] == 3]
    assert abs(mean(found) - 0.5) < 0.05


@given(st.integers(1, 60), st.integers(0, 2**32 - 1), st.booleans())
def test_arms_differ_in_nothing_but_the_options(questions: int, seed: int, by_image: bool) -> None:
    shown = training_plan(images_of(questions), 2, ALWAYS, seed, by_image)
    hidden = training_plan(images_of(questions), 2, NEVER, seed, by_image)
    assert [index for index, _ in shown] == [index for index, _ in hidden]
    assert all(options for _, options in shown)
    assert not any(options for _, options in hidden)


def test_a_curriculum_goes_from_first_to_last_share() -> None:
    plan = training_plan(images_of(4000), 1, ArmParams(options_first=1.0, options_last=0.0), 5, by_image=True)
    first, last = plan[:1000], plan[-1000:]
    assert sum(options for _, options in first) > 820
    assert sum(options for _, options in last) < 180


def test_a_validation_draws_over_all_images_and_asks_both_ways() -> None:
    rows = [
        {"qa_id": f"{image}-{n}", "image_id": f"{image}", "question": "what?", "options": ["a", "b"], "answer": "a"}
        for image in range(100)
        for n in range(5)
    ]
    asked = validation_questions(rows, 100, 3)
    assert len({question["image"] for question in asked}) > 50, "the first 100 rows are of 20 images"
    assert [question["qa_id"] for question in asked[::2]] == [question["qa_id"] for question in asked[1::2]]
    assert len({question["qa_id"] for question in asked}) == 100
    assert not any("Options" in question["text"] for question in asked[::2])
    assert all("Options: a, b" in question["text"] for question in asked[1::2])
    assert validation_questions(rows, 100, 3) == asked != validation_questions(rows, 100, 4)
    assert len(validation_questions(rows, 10_000, 3)) == 1000
