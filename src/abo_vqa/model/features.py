"""On-disk cache of the frozen vision tower's image features, as the language model takes them.

Exact while tower and projector are frozen. Keyed by model and image bytes, so that epochs, arms, experiments and
evaluation share entries. Images are encoded one at a time: the last bits of a result depend on the rest of its batch.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tqdm import tqdm

from abo_vqa.common.digests import package_versions
from abo_vqa.common.storage import replacing
from abo_vqa.model.base.parts import HEAD, language_part
from abo_vqa.model.families.lookup import family_of
from abo_vqa.model.finite import check_finite
from abo_vqa.model.images import ImagePart, read_image

_TEXT = "text"


class ImageFeatures(Mapping[str, ImagePart]):
    """Maps image ids to their part of a prompt with features instead of pixels, read from disk on access."""

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
            found = image_features(model, processor, name, images[name])
            for features in found.inputs.values():
                check_finite(features, "image features", name, model)
            with replacing(path) as temporary:
                save_file(found.inputs, temporary, {_TEXT: found.text})

    def __getitem__(self, image_id: str) -> ImagePart:
        with safe_open(self._files[image_id], "pt") as file:
            return ImagePart(file.metadata()[_TEXT], {name: file.get_tensor(name) for name in file.keys()})

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


@torch.no_grad()
def image_features(model: Any, processor: Any, name: str, data: bytes) -> ImagePart:
    """Return one image's features, and of the processor's outputs what is none of its pixels.

    Raises InputError for an image that cannot be read.
    """
    image = read_image(processor, name, data)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    found = family_of(base.config).features(base, image.inputs)
    shapes = {key: value for key, value in image.inputs.items() if not key.startswith("pixel")}
    return ImagePart(image.text, {key: value.contiguous().cpu() for key, value in (shapes | found).items()})


def vision_key(model: Any, processor: Any) -> str:
    """Return a digest of all that determines the features: weights, geometry, preprocessing, versions and kernels."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    digest = hashlib.sha256()
    config = {key: value for key, value in base.config.to_dict().items() if key != "text_config"}
    config["pixels"] = processor.image_processor.to_dict()
    config["versions"] = [package_versions(("torch", "transformers", "pillow")), model.device.type]
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    language = f"{language_part(base)}."
    for name, weight in sorted(base.state_dict().items()):
        if not name.startswith((language, HEAD)):
            digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
            digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _file_name(data: bytes) -> str:
    name = hashlib.sha256(data).hexdigest()
    return f"{name[:2]}/{name}.safetensors"
