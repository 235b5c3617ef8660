"""Choose how questions become sequences: one for each image where that is exact, else one for each question."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import PartialState

from abo_vqa.common.params.model import TrainParams
from abo_vqa.model.collators import QuestionCollator
from abo_vqa.model.features import ImageFeatures
from abo_vqa.model.self_check import CannotShare, sharing
from abo_vqa.model.shared_image import ImageCollator
from abo_vqa.training.self_check import check_packing


def collator_for(
    settings: TrainParams, base: Any, processor: Any, images: Mapping[str, bytes], dataset: Any, cache: Path
) -> ImageCollator | QuestionCollator:
    """Return the collator as train.packing says, after the first image's questions were computed both ways.

    cache: folder of image features, of which this process computes its share. Raises CannotShare if an image cannot be
    shared and train.packing is image.
    """
    context, process = base.config.get_text_config().max_position_embeddings, PartialState()
    if settings.packing == "question":
        return QuestionCollator(processor, images, context)
    frozen = settings.feature_cache and not settings.lora.vision_tower
    share = process.process_index, process.num_processes
    try:
        with sharing(base, processor.family, "several questions", "set train.packing: question, or auto"):
            features = ImageFeatures(cache, images, base, processor, share) if frozen else None
            process.wait_for_everyone()
            collator = ImageCollator(processor, images, features, context)
            check_packing(base, collator, dataset)
            return collator
    except CannotShare as reason:
        if settings.packing == "image":
            raise
        print(f"{reason}: each question takes a sequence of its own, which is slower", file=sys.stderr)
    return QuestionCollator(processor, images, context)
