"""Training on shared images starts only where a shared image has the losses of a sequence for each question."""

from pathlib import Path
from typing import Any

import pytest
import torch

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params
from abo_vqa.common.params.model import ArmParams
from abo_vqa.model import shared_image
from abo_vqa.model.base.loading import load_base, load_processor
from abo_vqa.model.features import ImageFeatures
from abo_vqa.model.shared_image import ImageCollator
from abo_vqa.training.plan import training_questions
from abo_vqa.training.self_check import check_packing

MIXED = ArmParams(options_first=0.5, options_last=0.5)


@pytest.mark.parametrize("base", ["llava", "llava-next"])
@pytest.mark.parametrize("cached", [True, False])
def test_an_exact_family_passes_with_cached_features_and_without(
    tiny_params: Params, rows: list[dict[str, Any]], images: dict[str, bytes], tmp_path: Path, base: str, cached: bool,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    params = tiny_params.model
    if base == "llava-next":
        params = params.model_copy(update={"base": str(request.getfixturevalue("tiny_next"))})
    model, processor = load_base(params), load_processor(params)
    features = ImageFeatures(tmp_path, images, model, processor) if cached else None
    check_packing(
        model, ImageCollator(processor, images, features, 8192), training_questions(rows, MIXED, 1, 3, by_image=True)
    )


@pytest.mark.parametrize("planted", ["mask", "positions", "features"])
def test_a_wrong_batch_is_refused_before_training(
    make_params: Any, root: Path, rows: list[dict[str, Any]], images: dict[str, bytes],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: str,
) -> None:  # fmt: skip
    params = make_params({"model": {"base": str(root / "models/demo")}}).model
    model, processor = load_base(params), load_processor(params)
    features = None
    lay_out = shared_image.shared_image_batch

    def wrong(*args: Any) -> dict[str, torch.Tensor]:
        batch = lay_out(*args)
        if planted == "mask":
            batch["attention_mask"] = torch.ones_like(batch["attention_mask"]).tril()
        else:
            batch["position_ids"] = batch["position_ids"] // 2
        return batch

    if planted == "features":  # of another image
        others = dict(zip(images, reversed(images.values()), strict=True))
        features = ImageFeatures(tmp_path, others, model, processor)
    else:
        monkeypatch.setattr(shared_image, "shared_image_batch", wrong)
    collator = ImageCollator(processor, images, features, 8192)
    dataset = training_questions(rows, MIXED, 1, 3, by_image=True)
    with pytest.raises(InputError, match=r"^it is not exact: .* differs by .* more than 0.001 in float32"):
        check_packing(model, collator, dataset)
