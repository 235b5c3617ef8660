"""Collate questions into model inputs, one sequence per question."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from abo_vqa.common.errors import InputError
from abo_vqa.common.storage import open_image
from abo_vqa.model.base.prompts import adds_begin_token, render_prompt
from abo_vqa.model.families.family import Tensors
from abo_vqa.model.images import IMAGES, split_inputs

IGNORED = -100  # label of tokens without a loss

Collate = Callable[[Sequence[Mapping[str, str]]], dict[str, Any]]


@dataclass(frozen=True)
class Question:
    """One model input: the encoded image, the text after the image, and the answer."""

    qa_id: str
    image: bytes
    text: str
    answer: str


class QuestionCollator:
    """Collates questions into padded batches, one sequence per question; labels cover only answer and end token.

    `images` maps image ids to encoded images; `context` is the model's maximum sequence length.
    """

    def __init__(self, processor: Any, images: Mapping[str, bytes], context: int) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.context = context
        self.images = images

    def __call__(self, examples: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        """Return `input_ids`, `attention_mask`, `labels` of shape (questions, length), and `images`, the inputs of
        each; also the types of tokens, where the processor has them."""
        encoded = [self._encode(example) for example in examples]
        prompts = [by_token["input_ids"][0].tolist() for by_token, _ in encoded]
        answers = [answer_tokens(self.processor, example["answer"]) for example in examples]
        lengths = [len(p) + len(a) for p, a in zip(prompts, answers, strict=True)]
        for example, length in zip(examples, lengths, strict=True):
            check_length(example["qa_id"], length, self.context)
        size = (len(examples), max(lengths))
        batch = {name: torch.zeros(size, dtype=torch.long) for name in encoded[0][0]}
        batch |= {"input_ids": torch.full(size, self.tokenizer.pad_token_id), "labels": torch.full(size, IGNORED)}
        for row, ((by_token, _), answer, end) in enumerate(zip(encoded, answers, lengths, strict=True)):
            start = end - len(answer)
            for name, values in by_token.items():
                batch[name][row, :start] = values[0]
                batch[name][row, start:end] = 1 if name == "attention_mask" else self.processor.family.answer_type
            batch["input_ids"][row, start:end] = torch.tensor(answer)
            batch["labels"][row, start:end] = torch.tensor(answer)
        return batch | {IMAGES: [image for _, image in encoded]}

    def _encode(self, example: Mapping[str, str]) -> tuple[Tensors, Tensors]:
        question = Question(example["qa_id"], self.images[example["image"]], example["text"], example["answer"])
        by_token, image = split_inputs(encode_prompts(self.processor, [question], padding_side="right"))
        by_token.pop("labels", None)
        return by_token, image


def encode_prompts(processor: Any, questions: Sequence[Question], padding_side: str) -> dict[str, torch.Tensor]:
    """Return model inputs for the prompts without answers, padded on the given side; InputError for a bad image."""
    texts = [render_prompt(processor, question.text) for question in questions]
    processor.tokenizer.padding_side = padding_side
    encoded = processor(
        images=[open_image(question.qa_id, question.image) for question in questions],
        text=texts,
        padding=True,
        add_special_tokens=adds_begin_token(processor, texts[0]),
        return_tensors="pt",
    )
    return dict(encoded)


def answer_tokens(processor: Any, answer: str) -> list[int]:
    """Return the target tokens: the answer, then the end token."""
    return [*processor.tokenizer.encode(answer, add_special_tokens=False), processor.ends[0]]


def check_length(qa_id: str, tokens: int, context: int) -> None:
    """Raise InputError if a question with its image and answer exceeds the model's context."""
    if tokens > context:
        raise InputError(
            f"question {qa_id}: {tokens} tokens with image and answer, more than the model's context of {context}; "
            "drop the question or use another model.base"
        )
