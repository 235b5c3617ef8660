"""What the model is given: the paper's prompts, labels that are the answer alone, and a plan drawn from the seed."""

from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abo_vqa.common.errors import InputError
from abo_vqa.model.collators import (IGNORED, Question, QuestionCollator, encode_prompts)
from abo_vqa.training.plan import audit_labels, training_plan, training_questions
from abo_vqa.model.base.loading import load_processor
from abo_vqa.model.base.prompts import question_text, render_prompt
from abo_vqa.model.shared_image import ImageCollator
from abo_vqa.common.params import Params
from abo_vqa.common.params.model import ArmParams

ALWAYS = ArmParams(options_first=1.0, options_last=1.0)
NEVER = ArmParams(options_first=0.0, options_last=0.0)


@pytest.fixture
def processor(tiny_params: Params) -> Any:
    return load_processor(tiny_params.model)


def test_prompts_are_the_papers(processor: Any) -> None:
    options = ["red", "blue", "green", "black"]
    assert "<image>\nWhat color?\nAnswer with just one word.<" in render_prompt(
        processor, question_text("What color?", None)
    )
    assert "<image>\nWhat color?\nOptions: red, blue, green, black\nAnswer with just one option.<" in render_prompt(
        processor, question_text("What color?", options)
    )


def test_an_image_becomes_its_patches(processor: Any, rows: list[dict[str, Any]], images: dict[str, bytes]) -> None:
    question = Question("q", images["image-0"], "What is it?", "red")
    inputs = encode_prompts(processor, [question], "left")
    assert (inputs["input_ids"] == processor.image_token_id).sum() == 64
    assert inputs["pixel_values"].shape == (1, 3, 112, 112)


def test_labels_are_answer_and_end_token(processor: Any, rows: list[dict[str, Any]], images: dict[str, bytes]) -> None:
    dataset = training_questions(rows, ALWAYS, 1, 3, by_image=False)
    batch = QuestionCollator(processor, images, 4096)([dataset[place] for place in range(5)])
    for place in range(5):
        labels = batch["labels"][place]
        kept = labels[labels != IGNORED]
        assert processor.tokenizer.decode(kept) == dataset[place]["answer"] + "<eos>"
        # The labelled tokens are the last real ones of the sequence, where the model is to produce them.
        ids = batch["input_ids"][place][batch["attention_mask"][place].bool()]
        assert ids[-len(kept) :].tolist() == kept.tolist()


def test_training_and_asking_see_the_same_prompt(
    processor: Any, rows: list[dict[str, Any]], images: dict[str, bytes]
) -> None:
    example = training_questions(rows, ALWAYS, 1, 3, by_image=False)[0]
    batch = QuestionCollator(processor, images, 4096)([example])
    asked = encode_prompts(processor, [Question("q", images[example["image"]], example["text"], "")], "left")
    prompt = batch["input_ids"][0][batch["labels"][0] == IGNORED]
    assert prompt.tolist() == asked["input_ids"][0].tolist()
    assert batch["pixel_values"].equal(asked["pixel_values"])


def test_the_audit_refuses_the_papers_labels(
    processor: Any, rows: list[dict[str, Any]], images: dict[str, bytes]
) -> None:
    class PromptTail(QuestionCollator):
        """Un-masks the end of the prompt and never appends the answer, as the paper's collator does."""

        def __call__(self, examples: Any) -> dict[str, Any]:
            batch = super().__call__(examples)
            shifted = batch["input_ids"].roll(4, dims=1)
            batch["labels"][batch["labels"] != IGNORED] = shifted[batch["labels"] != IGNORED]
            return batch

    dataset = training_questions(rows, ALWAYS, 1, 3, by_image=False)
    assert "labels: " in audit_labels(QuestionCollator(processor, images, 4096), dataset)
    with pytest.raises(InputError, match="the labels decode to"):
        audit_labels(PromptTail(processor, images, 4096), dataset)


@pytest.mark.parametrize("kind", ["question", "image"])
def test_a_prompt_beyond_the_context_is_named(
    kind: str, processor: Any, rows: list[dict[str, Any]], images: dict[str, bytes]
) -> None:
    long = [*rows, rows[0] | {"qa_id": "too long", "question": "word " * 400}]
    dataset = training_questions(long, NEVER, 1, 3, by_image=True)
    collator = {
        "question": QuestionCollator(processor, images, 300),
        "image": ImageCollator(processor, images, None, 300),
    }
    with pytest.raises(InputError, match=r"question too long: \d+ tokens .* more than the model's context of 300"):
        audit_labels(collator[kind], dataset, questions=0)


def test_an_unreadable_image_is_named(processor: Any) -> None:
    with pytest.raises(InputError, match="q7: its image cannot be read"):
        encode_prompts(processor, [Question("q7", b"no image", "What?", "")], "left")


def test_a_missing_model_is_explained(tiny_params: Params) -> None:
    nowhere = tiny_params.model.model_copy(update={"base": "models/nowhere"})
    with pytest.raises(InputError, match=r"model\.base: cannot open 'models/nowhere'"):
        load_processor(nowhere)


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


@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_by_image_the_questions_of_an_image_stay_together(questions: int, seed: int) -> None:
    images = images_of(questions)
    shown = [images[index] for index, _ in training_plan(images, 1, ALWAYS, seed, by_image=True)]
    assert len(list(groupby(shown))) == len(set(images))


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


def test_the_chat_template_travels_with_the_package(tiny_base: Path) -> None:
    assert (tiny_base / "chat_template.jinja").read_text().count("start_of_turn") == 2
