"""Collate questions into model inputs, one sequence per question."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from abo_vqa.common.errors import InputError
from abo_vqa.common.storage import open_image
from abo_vqa.model.base.prompts import adds_begin_token, render_prompt

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
        self._images = images

    def __call__(self, examples: Sequence[Mapping[str, str]]) -> dict[str, torch.Tensor]:
        """Return `input_ids`, `attention_mask`, `labels` of shape (questions, length) and the image inputs."""
        questions = [Question(e["qa_id"], self._images[e["image"]], e["text"], e["answer"]) for e in examples]
        inputs = encode_prompts(self.processor, questions, padding_side="right")
        attended = inputs["attention_mask"].bool()
        prompts = [ids[real].tolist() for ids, real in zip(inputs["input_ids"], attended, strict=True)]
        answers = [answer_tokens(self.processor, question.answer) for question in questions]
        length = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
        ids = torch.full((len(questions), length), self.tokenizer.pad_token_id)
        labels = torch.full((len(questions), length), IGNORED)
        mask = torch.zeros((len(questions), length), dtype=torch.long)
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            end = len(prompt) + len(answer)
            check_length(questions[row].qa_id, end, self.context)
            ids[row, :end] = torch.tensor(prompt + answer)
            labels[row, len(prompt) : end] = torch.tensor(answer)
            mask[row, :end] = 1
        return {**inputs, "input_ids": ids, "attention_mask": mask, "labels": labels}


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
