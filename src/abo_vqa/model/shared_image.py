"""One sequence per image: the image prefix once, then question segments that do not see each other.

Exact, not approximate: a segment attends to the prefix and to itself, and its positions go on where the prefix ends, so
every question is computed as if it stood alone behind its image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Segment:
    """One question behind a shared image: its prompt tokens (after the image prefix) and its answer tokens."""

    prompt: Sequence[int]
    answer: Sequence[int]


def shared_image_batch(
    prefix: Sequence[int],
    images: Sequence[Sequence[Segment]],
    pad_id: int,
    dtype: torch.dtype = torch.float32,
) -> dict[str, torch.Tensor]:
    """Build the batch of one sequence per image.

    Returns `input_ids` and `position_ids` of shape (images, length), an additive `attention_mask` of shape (images, 1,
    length, length) and `labels` of shape (images, length), where everything but the answers is -100. Padding sees
    itself only, so that no row of the mask is empty.
    """
    rows = [_lay_out(prefix, segments) for segments in images]
    length = max(len(ids) for ids, *_ in rows)

    def padded(values: list[int], fill: int) -> list[int]:
        return values + [fill] * (length - len(values))

    ids = torch.tensor([padded(ids, pad_id) for ids, *_ in rows])
    positions = torch.tensor([padded(positions, 0) for _, positions, *_ in rows])
    owner = torch.tensor([padded(owner, -1) for *_, owner, _ in rows])
    labels = torch.tensor([padded(labels, -100) for *_, labels in rows])

    causal = torch.ones(length, length, dtype=torch.bool).tril()
    same_segment = owner[:, :, None] == owner[:, None, :]
    in_prefix = (owner == 0)[:, None, :]
    real = (owner >= 0)[:, :, None]
    visible = causal & (same_segment | (in_prefix & real)) & (real | torch.eye(length, dtype=torch.bool))
    mask = torch.zeros(visible.shape, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)
    return {"input_ids": ids, "position_ids": positions, "attention_mask": mask[:, None], "labels": labels}


def _lay_out(prefix: Sequence[int], segments: Sequence[Segment]) -> tuple[list[int], list[int], list[int], list[int]]:
    """Lay one image's segments out behind its prefix: token ids, positions, owning segment (0: prefix), labels."""
    ids, positions, owner, labels = (
        list(prefix),
        list(range(len(prefix))),
        [0] * len(prefix),
        [-100] * len(prefix),
    )
    for number, segment in enumerate(segments, start=1):
        tokens = [*segment.prompt, *segment.answer]
        ids += tokens
        positions += range(len(prefix), len(prefix) + len(tokens))
        owner += [number] * len(tokens)
        labels += [-100] * len(segment.prompt) + list(segment.answer)
    return ids, positions, owner, labels
