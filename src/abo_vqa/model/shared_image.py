"""Pack the questions about one image into one sequence: the image prefix once, then independent segments.

Exact: a segment attends only to the prefix and itself, and its positions continue from the prefix, so each question is
computed as in a sequence without the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import torch
from torch.nn.functional import pad

from abo_vqa.model.base.prompts import adds_begin_token, render_prompt
from abo_vqa.model.collators import IGNORED, answer_tokens, check_length
from abo_vqa.model.families.family import Tensors
from abo_vqa.model.images import IMAGES, ImagePart, read_image


@dataclass(frozen=True)
class Segment:
    """One question about a shared image: its prompt tokens (after the image prefix) and its answer tokens."""

    prompt: Sequence[int]
    answer: Sequence[int]


@dataclass(frozen=True)
class SharedSequence:
    """An image's prefix tokens, image tokens included, and its question segments.

    positions, blocks: of the prefix, as a model's family has them; None: one after the other, and none.
    """

    prefix: Sequence[int]
    segments: Sequence[Segment]
    positions: torch.Tensor | None = None
    blocks: torch.Tensor | None = None


def shared_image_batch(sequences: Sequence[SharedSequence], pad_id: int) -> dict[str, torch.Tensor]:
    """Build a batch with one sequence per image.

    Returns `input_ids` of shape (images, length), `position_ids` of the same or, with several axes, of shape (images,
    axes, length), a boolean `attention_mask` of shape (images, 1, length, length), true where a query (row) attends to
    a key (column), and `labels` of shape (images, length), IGNORED outside the answers.
    """
    rows = [_lay_out(sequence) for sequence in sequences]
    length = max(len(ids) for ids, *_ in rows)

    def padded(values: list[int], fill: int) -> list[int]:
        return values + [fill] * (length - len(values))

    ids = torch.tensor([padded(ids, pad_id) for ids, *_ in rows])
    positions = torch.stack([pad(positions, (0, length - positions.shape[1])) for _, positions, *_ in rows])
    owner = torch.tensor([padded(owner, -1) for *_, owner, _ in rows])
    labels = torch.tensor([padded(labels, IGNORED) for *_, labels in rows])

    # A causal mask alone would let a question see the answers of those before it. `owner` separates them: 0 is the
    # prefix, which all may see, n the n-th question, -1 padding.
    causal = torch.ones(length, length, dtype=torch.bool).tril().expand(len(rows), -1, -1).clone()
    for row, sequence in enumerate(sequences):
        if sequence.blocks is not None:
            causal[row] |= both_ways(pad(sequence.blocks, (0, length - len(sequence.blocks)), value=-1))
    same_segment = owner[:, :, None] == owner[:, None, :]
    in_prefix = (owner == 0)[:, None, :]
    real = (owner >= 0)[:, :, None]
    # Padding keeps its diagonal: softmax over an all-false row is NaN, which would spread to every gradient.
    visible = causal & (same_segment | (in_prefix & real)) & (real | torch.eye(length, dtype=torch.bool))
    places = positions[:, 0] if positions.shape[1] == 1 else positions
    return {"input_ids": ids, "position_ids": places, "attention_mask": visible[:, None], "labels": labels}


def both_ways(blocks: torch.Tensor) -> torch.Tensor:
    """Return which tokens see which for being in one block; blocks: of each token, -1: in none."""
    return (blocks[:, None] == blocks) & (blocks >= 0)


class ImageCollator:
    """Collates questions into one sequence per image; consecutive questions about an image share it.

    features: cached vision features by image id; None: the model computes them, as an adapted vision tower requires.
    context: the model's maximum sequence length, checked for each question alone with its image.
    """

    def __init__(
        self,
        processor: Any,
        images: Mapping[str, bytes],
        features: Mapping[str, ImagePart] | None,
        context: int,
    ) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.context = context
        self.images = images
        self._features = features
        self._behind: dict[str, list[int]] = {}

    def __call__(self, examples: Sequence[Mapping[str, str]]) -> dict[str, Any]:
        """Return shared_image_batch's tensors and `images`, the features or pixels of each."""
        groups = [(image, list(group)) for image, group in groupby(examples, key=lambda example: example["image"])]
        images = [self._image(image) for image, _ in groups]
        sequences = [self._sequence(group, image) for (_, group), image in zip(groups, images, strict=True)]
        return shared_image_batch(sequences, self.tokenizer.pad_token_id) | {IMAGES: [image.inputs for image in images]}

    def image_prefix(self, image_id: str) -> tuple[SharedSequence, Tensors]:
        """Return a prompt up to the end of its image, without questions, and the image's model inputs."""
        image = self._image(image_id)
        return self._shared(self._prompt("", image.text)[0], image, []), image.inputs

    def prompt_tokens(self, text: str) -> list[int]:
        """Return a prompt's tokens after its image, up to the start of the answer."""
        if text not in self._behind:
            self._behind[text] = self._prompt(text, self._some_image)[1]
        return self._behind[text]

    @cached_property
    def _some_image(self) -> str:
        # What is behind an image is the same for all.
        return self._image(next(iter(self.images))).text

    def _prompt(self, text: str, image: str) -> tuple[list[int], list[int]]:
        """Return a prompt's tokens up to the last of its image, and those behind."""
        rendered = render_prompt(self.processor, text)
        begin = adds_begin_token(self.processor, rendered)
        [whole], _ = self.processor.get_text_with_replacements([rendered], [image])
        tokens = self.tokenizer.encode(whole, add_special_tokens=begin)
        end = len(tokens) - tokens[::-1].index(self.processor.family.image_token)
        return tokens[:end], tokens[end:]

    def _sequence(self, examples: Sequence[Mapping[str, str]], image: ImagePart) -> SharedSequence:
        prefix, segments = self._prompt("", image.text)[0], []
        for example in examples:
            behind = self.prompt_tokens(example["text"])
            segment = Segment(behind, answer_tokens(self.processor, example["answer"]))
            check_length(example["qa_id"], len(prefix) + len(segment.prompt) + len(segment.answer), self.context)
            segments.append(segment)
        return self._shared(prefix, image, segments)

    def _shared(self, prefix: list[int], image: ImagePart, segments: list[Segment]) -> SharedSequence:
        family = self.processor.family
        return SharedSequence(prefix, segments, family.positions(prefix, image.inputs), family.blocks(prefix))

    def _image(self, image_id: str) -> ImagePart:
        if self._features is not None:
            return self._features[image_id]
        return read_image(self.processor, image_id, self.images[image_id])


def _lay_out(sequence: SharedSequence) -> tuple[list[int], torch.Tensor, list[int], list[int]]:
    """Concatenate an image's prefix and segments: token ids, positions, owning segment (0: prefix), labels."""
    shared = len(sequence.prefix)
    start = torch.arange(shared)[None] if sequence.positions is None else sequence.positions
    ids, positions, owner, labels = list(sequence.prefix), [start], [0] * shared, [IGNORED] * shared
    for number, segment in enumerate(sequence.segments, start=1):
        tokens = [*segment.prompt, *segment.answer]
        ids += tokens
        # Every question continues from the prefix, as if it were the only one.
        positions.append(int(start.max()) + 1 + torch.arange(len(tokens)).expand(len(start), -1))
        owner += [number] * len(tokens)
        labels += [IGNORED] * len(segment.prompt) + list(segment.answer)
    return ids, torch.cat(positions, dim=1), owner, labels
