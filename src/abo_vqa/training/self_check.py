"""Compute the first image's losses both ways, on the actual weights, number format and device, before training."""

from collections.abc import Mapping
from itertools import islice, takewhile
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch.nn.functional import cross_entropy

from abo_vqa.model.collators import QuestionCollator
from abo_vqa.model.self_check import check_agreement, log_probability_alone
from abo_vqa.model.shared_image import ImageCollator
from abo_vqa.training.trainer import answer_logits

QUESTIONS = 4


@torch.no_grad()
def check_packing(model: Any, collator: ImageCollator, dataset: Any) -> None:
    """Raise CannotShare unless questions that share an image have the losses of a sequence each.

    dataset: as training_questions returns it; its first few questions are taken, as far as they are about one image.
    """
    first = dataset[0]["image"]
    same = takewhile(lambda example: example["image"] == first, dataset)
    examples: list[Mapping[str, str]] = list(islice(same, QUESTIONS))
    end = collator.processor.ends[0]
    single = QuestionCollator(collator.processor, collator.images, collator.context)
    alone = [log_probability_alone(model, single, example, [end]) for example in examples]
    logits, targets = answer_logits(model, send_to_device(collator(examples), model.device))
    losses = cross_entropy(logits.float(), targets, reduction="none")
    ends = (targets == end).nonzero()[:, 0] + 1
    shared = [-float(part.sum()) for part in losses.tensor_split(ends[:-1].cpu())]
    check_agreement(model, shared, alone)
