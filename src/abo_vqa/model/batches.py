"""Questions to model inputs: what is trained on, what is asked, and the proof that labels hold the answer alone."""

import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from PIL import Image

from abo_vqa.errors import InputError
from abo_vqa.model.prompts import question_text, render_prompt
from abo_vqa.params import ArmParams
from abo_vqa.seeds import derive_rng

IGNORED = -100  # label of a token that carries no loss


@dataclass(frozen=True)
class Question:
    """One question as the model is asked it: the image's bytes, the text behind the image, the answer."""

    qa_id: str
    image: bytes
    text: str
    answer: str


def training_questions(rows: Sequence[Mapping[str, Any]], arm: ArmParams, epochs: float, seed: int) -> Dataset:
    """Return all questions of a training run in the order they are shown, epoch after epoch.

    The whole order, and whether each prompt shows its options, is drawn beforehand from the seed, so that a run is
    the same however often it is interrupted. Columns: qa_id, image (the image's id; TRL recognises vision data by this
    name), text, answer.
    """
    plan = training_plan(len(rows), epochs, arm, seed)
    return Dataset.from_list(
        [
            {
                "qa_id": rows[index]["qa_id"],
                "image": rows[index]["image_id"],
                "text": question_text(rows[index]["question"], list(rows[index]["options"]) if shown else None),
                "answer": rows[index]["answer"],
            }
            for index, shown in plan
        ]
    )


def training_plan(questions: int, epochs: float, arm: ArmParams, seed: int) -> list[tuple[int, bool]]:
    """Return, for every place in the run, the question's index and whether its options are shown.

    The order depends on the seed alone, so that arms see the same questions at the same steps.
    """
    total = round(questions * epochs)
    order: list[int] = []
    while len(order) < total:
        epoch = list(range(questions))
        derive_rng(seed, "order", len(order)).shuffle(epoch)
        order += epoch
    coin = derive_rng(seed, "options-shown")
    return [(index, _show_options(place, total, arm, coin)) for place, index in enumerate(order[:total])]


def _show_options(place: int, total: int, arm: ArmParams, coin: random.Random) -> bool:
    progress = place / max(1, total - 1)
    share = arm.options_first + (arm.options_last - arm.options_first) * progress
    return coin.random() < share


class Collator:
    """Turns questions into padded training batches whose labels are the answer and the end token, nothing else.

    `images` holds the encoded image behind every image id.
    """

    def __init__(self, processor: Any, images: Mapping[str, bytes]) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self._images = images

    def __call__(self, examples: Sequence[Mapping[str, str]]) -> dict[str, torch.Tensor]:
        """Return `input_ids`, `attention_mask`, `labels` of shape (questions, length) and the image inputs."""
        questions = [Question(e["qa_id"], self._images[e["image"]], e["text"], e["answer"]) for e in examples]
        inputs = encode_prompts(self.processor, questions, padding_side="right")
        attended = inputs["attention_mask"].bool()
        prompts = [ids[real].tolist() for ids, real in zip(inputs["input_ids"], attended, strict=True)]
        answers = [answer_tokens(self.tokenizer, question.answer) for question in questions]
        length = max(len(p) + len(a) for p, a in zip(prompts, answers, strict=True))
        ids = torch.full((len(questions), length), self.tokenizer.pad_token_id)
        labels = torch.full((len(questions), length), IGNORED)
        mask = torch.zeros((len(questions), length), dtype=torch.long)
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            end = len(prompt) + len(answer)
            ids[row, :end] = torch.tensor(prompt + answer)
            labels[row, len(prompt) : end] = torch.tensor(answer)
            mask[row, :end] = 1
        return {**inputs, "input_ids": ids, "attention_mask": mask, "labels": labels}


def encode_prompts(processor: Any, questions: Sequence[Question], padding_side: str) -> dict[str, torch.Tensor]:
    """Return the model inputs of the prompts alone, padded on the given side; raises InputError for a bad image."""
    texts = [render_prompt(processor, question.text) for question in questions]
    processor.tokenizer.padding_side = padding_side
    # The chat template has already put the begin token in place.
    encoded = processor(
        images=[_open(question) for question in questions],
        text=texts,
        padding=True,
        add_special_tokens=False,
        return_tensors="pt",
    )
    return dict(encoded)


def answer_tokens(tokenizer: Any, answer: str) -> list[int]:
    """Return the tokens the model has to produce: the answer, then the end token."""
    return [*tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]


def audit_labels(collator: Collator, dataset: Dataset, questions: int = 256) -> str:
    """Decode the labels of the first questions and refuse to go on unless each is exactly answer + end token.

    Returns the first question's prompt and label as text, for a person to read. Raises InputError naming the first
    question whose labels are anything else: this is the check that would have stopped the paper's training run.
    """
    shown = ""
    for start in range(0, min(questions, len(dataset)), 32):
        examples = [dataset[place] for place in range(start, min(start + 32, len(dataset)))]
        batch = collator(examples)
        for example, ids, labels in zip(examples, batch["input_ids"], batch["labels"], strict=True):
            decoded = collator.tokenizer.decode(labels[labels != IGNORED], skip_special_tokens=False)
            expected = example["answer"] + collator.tokenizer.eos_token
            if decoded != expected:
                raise InputError(
                    f"question {example['qa_id']}: the labels decode to {decoded!r}, not to answer and end token "
                    f"{expected!r}; training on them would teach the wrong thing"
                )
            shown = shown or f"prompt: {example['text']!r}\nlabels: {decoded!r}\ntokens: {len(ids)}"
    return shown


def _open(question: Question) -> Image.Image:
    try:
        return Image.open(io.BytesIO(question.image)).convert("RGB")
    except OSError as error:
        raise InputError(
            f"question {question.qa_id}: its image cannot be read ({error}); run `dvc repro sample`"
        ) from error
