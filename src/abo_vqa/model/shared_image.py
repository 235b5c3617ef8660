"""Pack the questions about one image into one sequence: the image prefix once, then independent segments.

Exact: a segment attends only to the prefix and itself, and its positions continue from the prefix, so each question is
computed as in a sequence without the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch

from abo_vqa.common.storage import open_image
from abo_vqa.model.base.prompts import adds_begin_token, render_prompt
from abo_vqa.model.collators import IGNORED, answer_tokens, check_length


@dataclass(frozen=True)
class Segment:
    """One question about a shared image: its prompt tokens (after the image prefix) and its answer tokens."""

    prompt: Sequence[int]
    answer: Sequence[int]


@dataclass(frozen=True)
class SharedSequence:
    """An image's prefix tokens, image tokens included, and its question segments."""

    prefix: Sequence[int]
    segments: Sequence[Segment]


def shared_image_batch(sequences: Sequence[SharedSequence], pad_id: int) -> dict[str, torch.Tensor]:
    """Build a batch with one sequence per image.

    Returns `input_ids` and `position_ids` of shape (images, length), a boolean `attention_mask` of shape (images, 1,
    length, length), true where a query (row) attends to a key (column), and `labels` of shape (images, length),
    IGNORED outside the answers.
    """
    rows = [_lay_out(sequence) for sequence in sequences]
    length = max(len(ids) for ids, *_ in rows)

    def padded(values: list[int], fill: int) -> list[int]:
        return values + [fill] * (length - len(values))

    ids = torch.tensor([padded(ids, pad_id) for ids, *_ in rows])
    positions = torch.tensor([padded(positions, 0) for _, positions, *_ in rows])
    owner = torch.tensor([padded(owner, -1) for *_, owner, _ in rows])
    labels = torch.tensor([padded(labels, IGNORED) for *_, labels in rows])

    # A causal mask alone would let a question see the answers of those before it. `owner` separates them: 0 is the
    # prefix, which all may see, n the n-th question, -1 padding.
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    same_segment = owner[:, :, None] == owner[:, None, :]
    in_prefix = (owner == 0)[:, None, :]
    real = (owner >= 0)[:, :, None]
    # Padding keeps its diagonal: softmax over an all-false row is NaN, which would spread to every gradient.
    visible = causal & (same_segment | (in_prefix & real)) & (real | torch.eye(length, dtype=torch.bool))
    return {"input_ids": ids, "position_ids": positions, "attention_mask": visible[:, None], "labels": labels}


class ImageCollator:
    """Collates questions into one sequence per image; consecutive questions about an image share it.

    features: cached vision features by image id; None: the model computes them, as an adapted vision tower requires.
    context: the model's maximum sequence length, checked for each question alone with its image.
    """

    def __init__(
        self,
        processor: Any,
        images: Mapping[str, bytes],
        features: Mapping[str, torch.Tensor] | None,
        context: int,
    ) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.context = context
        self.images = images
        self._features = features

    def __call__(self, examples: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        """Return shared_image_batch's tensors with `image_features` or pixel inputs, one entry per image."""
        groups = [(image, list(group)) for image, group in groupby(examples, key=lambda example: example["image"])]
        inputs, counts = self._image_inputs([image for image, _ in groups])
        sequences = [self._sequence(group, count) for (_, group), count in zip(groups, counts, strict=True)]
        return shared_image_batch(sequences, self.tokenizer.pad_token_id) | inputs

    def image_prefix(self, image_id: str) -> tuple[list[int], dict[str, Any]]:
        """Return a prompt's tokens up to the end of its image, and the image's model inputs."""
        inputs, [count] = self._image_inputs([image_id])
        return self._prefix(self._prompt("")[0], count), inputs

    def prompt_tokens(self, text: str) -> list[int]:
        """Return a prompt's tokens after its image, up to the start of the answer."""
        return self._prompt(text)[1]

    def _prefix(self, before: list[int], image_tokens: int) -> list[int]:
        return before + [self.processor.image_token_id] * image_tokens

    def _prompt(self, text: str) -> tuple[list[int], list[int]]:
        """Return a prompt's tokens before and after the image placeholder."""
        rendered = render_prompt(self.processor, text)
        tokens = self.tokenizer.encode(rendered, add_special_tokens=adds_begin_token(self.processor, rendered))
        place = tokens.index(self.processor.image_token_id)
        return tokens[:place], tokens[place + 1 :]

    def _sequence(self, examples: Sequence[Mapping[str, str]], image_tokens: int) -> SharedSequence:
        prefix: list[int] = []
        segments = []
        for example in examples:
            before, behind = self._prompt(example["text"])
            prefix = self._prefix(before, image_tokens)
            segment = Segment(behind, answer_tokens(self.processor, example["answer"]))
            check_length(example["qa_id"], len(prefix) + len(segment.prompt) + len(segment.answer), self.context)
            segments.append(segment)
        return SharedSequence(prefix, segments)

    def _image_inputs(self, image_ids: Sequence[str]) -> tuple[dict[str, Any], list[int]]:
        """Return the images' model inputs and their numbers of image tokens."""
        if self._features is not None:
            features = [self._features[image] for image in image_ids]
            return {"image_features": features}, [len(feature) for feature in features]
        opened = [open_image(image, self.images[image]) for image in image_ids]
        alone = [self.processor.image_token] * len(opened)
        encoded = dict(
            self.processor(images=opened, text=alone, padding=True, add_special_tokens=False, return_tensors="pt")
        )
        counts = (encoded.pop("input_ids") == self.processor.image_token_id).sum(1).tolist()
        encoded.pop("attention_mask")
        return encoded, counts


def _lay_out(sequence: SharedSequence) -> tuple[list[int], list[int], list[int], list[int]]:
    """Concatenate an image's prefix and segments: token ids, positions, owning segment (0: prefix), labels."""
    shared = len(sequence.prefix)
    ids, positions, owner, labels = list(sequence.prefix), list(range(shared)), [0] * shared, [IGNORED] * shared
    for number, segment in enumerate(sequence.segments, start=1):
        tokens = [*segment.prompt, *segment.answer]
        ids += tokens
        # Every question continues from the prefix, as if it were the only one.
        positions += range(shared, shared + len(tokens))
        owner += [number] * len(tokens)
        labels += [IGNORED] * len(segment.prompt) + list(segment.answer)
    return ids, positions, owner, labels
