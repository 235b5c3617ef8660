"""The cache of image features: processes share the images out, and what is not finite is not kept."""

from pathlib import Path

import pytest
import torch

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params
from abo_vqa.model.base.loading import load_base, load_processor
from abo_vqa.model.features import ImageFeatures


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.safetensors")}


def test_processes_share_the_images_out(tiny_params: Params, images: dict[str, bytes], tmp_path: Path) -> None:
    base, processor = load_base(tiny_params.model), load_processor(tiny_params.model)
    ImageFeatures(tmp_path / "one", images, base, processor)
    made = []
    for rank in range(3):
        features = ImageFeatures(tmp_path / "three", images, base, processor, (rank, 3))
        made.append(len(files(tmp_path / "three")))
    assert made == [3, 6, 8]
    assert files(tmp_path / "three") == files(tmp_path / "one")
    assert set(features) == set(images), "each process reads all of them"


def test_features_of_other_kernels_are_kept_apart(
    tiny_params: Params, images: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, processor = load_base(tiny_params.model), load_processor(tiny_params.model)
    ImageFeatures(tmp_path, images, base, processor)
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")  # as in a stage
    ImageFeatures(tmp_path, images, base, processor)
    assert len(list(tmp_path.iterdir())) == 2


def test_features_that_are_not_finite_are_not_kept(
    tiny_params: Params, tiny_base: Path, images: dict[str, bytes], tmp_path: Path
) -> None:
    base, processor = load_base(tiny_params.model), load_processor(tiny_params.model)
    with torch.no_grad():
        next(base.model.multi_modal_projector.parameters()).view(-1)[0] = torch.nan
    with pytest.raises(InputError, match=f"image-0: the image features of {tiny_base} are not finite in float32"):
        ImageFeatures(tmp_path, images, base, processor)
    assert files(tmp_path) == {}
