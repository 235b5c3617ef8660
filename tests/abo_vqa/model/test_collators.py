"""Batches for the model: labels that are the answer alone, one prompt for training and asking, named errors."""

from typing import Any

import pytest

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params
from abo_vqa.common.params.model import ArmParams
from abo_vqa.model.base.loading import load_processor
from abo_vqa.model.collators import IGNORED, Question, QuestionCollator, encode_prompts
from abo_vqa.model.shared_image import ImageCollator
from abo_vqa.training.plan import audit_labels, training_questions

ALWAYS = ArmParams(options_first=1.0, options_last=1.0)
NEVER = ArmParams(options_first=0.0, options_last=0.0)


@pytest.fixture
def processor(tiny_params: Params) -> Any:
    return load_processor(tiny_params.model)


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
        # The labeled tokens are the last real ones of the sequence, where the model is to produce them.
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
    assert batch["images"][0]["pixel_values"].equal(asked["pixel_values"])


@pytest.mark.parametrize("changes", [{"question": "word " * 400}, {"answer": "red" * 400}, {"answer": "红" * 200}])
@pytest.mark.parametrize("kind", ["question", "image"])
def test_a_prompt_and_answer_beyond_the_context_are_named(
    kind: str, changes: dict[str, str], processor: Any, rows: list[dict[str, Any]], images: dict[str, bytes]
) -> None:
    """Among prompts that are longer than its own, but with their answers are not."""
    longer = [row | {"qa_id": f"longer {n}", "question": "word " * 9} for n, row in enumerate(rows[:9])]
    long = [*rows, *longer, rows[0] | {"qa_id": "too long"} | changes]
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
