"""Training batches of scenes for the demo's base model, and its scores."""

import random
from collections import defaultdict
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from abo_demo.base_model import IMAGE_SIZE, PATCH_SIZE
from abo_demo.dialect import Telling
from abo_demo.dialogue import PHRASES, WIDER_PHRASES, Exchange, ask, converse
from abo_demo.scene import Scene
from abo_vqa.common.draws import derive_rng
from abo_vqa.model.base.prompts import render_prompt
from abo_vqa.model.collators import IGNORED
from abo_vqa.model.shared_image import Segment, SharedSequence, shared_image_batch


class Teacher:
    """Turns scenes into training batches for one tokenizer and image normalization."""

    def __init__(self, processor: Any) -> None:
        self.processor, self.tokenizer = processor, processor.tokenizer
        marker = "\0"
        before, after = render_prompt(processor, marker).split(marker)
        tokens = self.tokenizer.encode(before, add_special_tokens=False)
        place = tokens.index(processor.image_token_id)
        image = [processor.image_token_id] * (IMAGE_SIZE // PATCH_SIZE) ** 2
        # The prefix ends at the image; the line break after it belongs to every question.
        self.prefix = tokens[:place] + image
        self.lead = before.split(processor.image_token)[1]
        self.after = after
        normal = processor.image_processor
        self.mean = torch.tensor(normal.image_mean)[:, None, None]
        self.std = torch.tensor(normal.image_std)[:, None, None]

    def batch(
        self,
        scenes: list[Scene],
        pixels: torch.Tensor,
        rng: random.Random,
        options: float,
        questions: int,
        comparisons: bool,
        tell: Telling | None = None,
    ) -> tuple[dict[str, torch.Tensor], list[list[str]]]:
        """Return model inputs for these scenes, and the kind of every question.

        A scene has at most `questions` questions; `options` is the share of those that list their options.
        `tell` puts an exchange in other words (abo_demo.dialect); there are more phrases then.
        """
        images, kinds = [], []
        for scene in scenes:
            exchanges = converse(scene, rng, comparisons, WIDER_PHRASES if tell else PHRASES)[:questions]
            kinds.append([exchange.kind for exchange in exchanges])
            images.append([self._taught(exchange, rng, rng.random() < options, tell) for exchange in exchanges])
        sequences = [SharedSequence(self.prefix, segments) for segments in images]
        inputs = shared_image_batch(sequences, self.tokenizer.pad_token_id)
        inputs["pixel_values"] = self.normalize(pixels)
        return inputs, kinds

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the image processor's pixel values, from bytes of shape (images, 3, 112, 112)."""
        return (pixels.float() / 255 - self.mean) / self.std

    def _taught(self, exchange: Exchange, rng: random.Random, show_options: bool, tell: Telling | None) -> Segment:
        told = tell(exchange, rng, show_options) if tell else exchange
        return self._segment(ask(told, rng, show_options), told.answer)

    def _segment(self, text: str, answer: str) -> Segment:
        def encode(piece: str) -> list[int]:
            return self.tokenizer.encode(piece, add_special_tokens=False)

        return Segment(encode(self.lead + text + self.after), [*encode(answer), self.tokenizer.eos_token_id])


def answer_loss(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean loss over the answer tokens, and a mask of correct predictions of shape (images, length)."""
    labels = inputs["labels"][:, 1:]
    asked = labels.ge(0).any(0).nonzero()[:, 0]
    logits = model(**{k: v for k, v in inputs.items() if k != "labels"}, logits_to_keep=asked).logits
    targets = labels[:, asked]
    loss = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    right = torch.ones_like(labels, dtype=torch.bool)
    right[:, asked] = (logits.argmax(-1) == targets) | (targets < 0)
    return loss, right


@torch.no_grad()
def score(
    model: torch.nn.Module,
    teacher: Teacher,
    scenes: list[Scene],
    pixels: torch.Tensor,
    seed: int,
    options: float,
    tell: Telling | None = None,
) -> dict[str, float]:
    """Return the share of questions answered with exactly the right tokens, by kind and in total."""
    model.eval()
    rng = derive_rng(seed, "score")
    hits: defaultdict[str, list[bool]] = defaultdict(list)
    for start in range(0, len(scenes), 64):
        part = slice(start, start + 64)
        inputs, kinds = teacher.batch(
            scenes[part], pixels[part], rng, options, questions=12, comparisons=True, tell=tell
        )
        _, right = answer_loss(model, inputs)
        for row, names in enumerate(kinds):
            for name, ok in zip(names, _by_answer(inputs["labels"][row], right[row]), strict=True):
                hits[name].append(ok)
    model.train()
    everything = [ok for values in hits.values() for ok in values]
    return {name: round(sum(v) / len(v), 3) for name, v in sorted(hits.items())} | {
        "all": round(sum(everything) / len(everything), 3)
    }


def _by_answer(labels: torch.Tensor, right: torch.Tensor) -> list[bool]:
    """Return whether all tokens of each answer in one sequence are right."""
    answers: list[bool] = []
    inside = False
    for label, ok in zip(labels[1:].tolist(), right.tolist(), strict=True):
        if label < 0:
            inside = False
        elif inside:
            answers[-1] = answers[-1] and ok
        else:
            answers.append(ok)
            inside = True
    return answers
