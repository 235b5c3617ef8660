"""On-disk cache of the frozen vision tower's projected image features.

Exact while tower and projector are frozen. Keyed by model and image bytes, so that epochs, arms, experiments and
evaluation share entries. Images are encoded one at a time: the last bits of a result depend on the rest of its batch.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm
from transformers.modeling_outputs import BaseModelOutputWithPooling

from abo_vqa.common.digests import package_versions
from abo_vqa.common.storage import open_image, replacing
from abo_vqa.model.finite import check_finite

NAME = "features"


class ImageFeatures(Mapping[str, torch.Tensor]):
    """Maps image ids to projected features of shape (image tokens, hidden size), read from disk on access."""

    def __init__(
        self, folder: Path, images: Mapping[str, bytes], model: Any, processor: Any, share: tuple[int, int] = (0, 1)
    ) -> None:
        """Open the cache of this model and processor in `folder` and compute the missing features of `images`.

        share: (rank, world size); each process computes every world-size-th image, so together they compute all.
        """
        self._folder = folder / vision_key(model, processor)
        self._files = {name: self._folder / _file_name(data) for name, data in images.items()}
        mine = sorted(images)[share[0] :: share[1]]
        absent = {self._files[name]: name for name in mine if not self._files[name].is_file()}
        for path, name in tqdm(absent.items(), desc="image features", unit=" images", mininterval=2):
            features = image_features(model, processor, name, images[name])
            check_finite(features, "image features", name, model)
            with replacing(path) as temporary:
                save_file({NAME: features.contiguous().cpu()}, temporary)

    def __getitem__(self, image_id: str) -> torch.Tensor:
        return load_file(self._files[image_id])[NAME]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


@torch.no_grad()
def image_features(model: Any, processor: Any, name: str, data: bytes) -> torch.Tensor:
    """Return one image's projected features, of shape (image tokens, hidden size); InputError for a bad image."""
    text = processor.image_token
    inputs = processor(images=[open_image(name, data)], text=[text], add_special_tokens=False, return_tensors="pt")
    known = {key: inputs[key].to(model.device) for key in ("pixel_values", "image_sizes") if key in inputs}
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    known["pixel_values"] = known["pixel_values"].to(base.model.vision_tower.dtype)
    return base.model.get_image_features(**known, return_dict=True).pooler_output[0]


def as_model_input(features: Iterable[torch.Tensor]) -> dict[str, Any]:
    """Return the keyword argument that passes cached features instead of pixels to transformers' LLaVA models."""
    each: Any = list(features)  # annotated as one tensor, but the models index one per image
    return {"mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=each)}}


def vision_key(model: Any, processor: Any) -> str:
    """Return a digest of all that determines the features: weights, geometry, preprocessing, versions and kernels."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    digest = hashlib.sha256()
    config = {
        key: base.config.to_dict().get(key)
        for key in ("model_type", "vision_config", "vision_feature_layer", "vision_feature_select_strategy")
    }
    config["pixels"] = processor.image_processor.to_dict()
    config["versions"] = [package_versions(("torch", "transformers", "pillow")), model.device.type]
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    for name, weight in sorted(base.model.state_dict().items()):
        if not name.startswith("language_model."):
            digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
            digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _file_name(data: bytes) -> str:
    name = hashlib.sha256(data).hexdigest()
    return f"{name[:2]}/{name}.safetensors"
