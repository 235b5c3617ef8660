"""Choose how a model is asked: its prompts as a tree where that is exact, else a sequence each."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from abo_vqa.inference.prompt_tree.scorer import Prompt, Scorer
from abo_vqa.inference.prompt_tree.self_check import check_tree
from abo_vqa.inference.prompt_tree.single import SingleScorer
from abo_vqa.model.collators import QuestionCollator
from abo_vqa.model.features import ImageFeatures
from abo_vqa.model.self_check import CannotShare, sharing
from abo_vqa.model.shared_image import ImageCollator


def scorer_for(
    model: Any,
    processor: Any,
    images: Mapping[str, bytes],
    prompts: Mapping[str, Iterable[Prompt]],
    cache: Path | None,
    max_new_tokens: int,
    tokens_per_pass: int | Literal["auto"],
) -> Scorer | SingleScorer:
    """Return what asks a model in evaluation mode, after a few of the prompts were asked both ways.

    prompts: by image; cache: folder of image features, None: they are computed anew, as an adapted vision tower
    requires. If prompts cannot share an image, that is printed, and each takes a sequence of its own.
    """
    context = model.config.get_text_config().max_position_embeddings
    try:
        with sharing(model, processor.family, "several prompts", "each takes a sequence of its own, which is slower"):
            features = ImageFeatures(cache, images, model, processor) if cache else None
            scorer = Scorer(model, ImageCollator(processor, images, features, context), max_new_tokens, tokens_per_pass)
            check_tree(scorer, prompts)
            return scorer
    except CannotShare as reason:
        print(reason, file=sys.stderr)
    return SingleScorer(model, QuestionCollator(processor, images, context), max_new_tokens)
