"""A forest in a key-value cache: images as roots, prompts on an image, options on a prompt."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from abo_vqa.model.features import as_model_input
from abo_vqa.model.finite import check_finite


@dataclass(frozen=True)
class Segment:
    """Consecutive tokens. owner: their number, from 1; parent: the owner that they also attend to; image: that of their
    image, which is a prompt's parent; depth: of the first token, in tokens after the image."""

    tokens: Sequence[int]
    owner: int
    parent: int
    image: int
    depth: int


def placed(segments: Iterable[Segment]) -> list[tuple[Segment, int]]:
    """Return every token's segment and place in the pass."""
    each = [segment for segment in segments for _ in segment.tokens]
    return [(segment, place) for place, segment in enumerate(each)]


class Tree:
    """Images in a key-value cache, then segments that attend to their image, their parent and themselves.

    Images have the owners 0, -1, -2 ..., in their order.
    """

    def __init__(self, model: Any, images: Mapping[str, tuple[Sequence[int], Mapping[str, Any]]]) -> None:
        """Read the images; images: by id, the tokens of each prefix and the model's further inputs."""
        self._model, self._ids = model, list(images)
        self._depths = {-place: len(prefix) for place, (prefix, _) in enumerate(images.values())}
        self._cache = DynamicCache()
        self._owners = torch.empty(0, dtype=torch.long)
        for place, (prefix, inputs) in enumerate(images.values()):
            positions = torch.arange(len(prefix))
            own = torch.full((len(prefix),), -place)
            seen = self._seen(own, own, own)
            self._forward(torch.tensor(prefix), positions, seen, torch.tensor([len(prefix) - 1]), inputs)

    def read(self, segments: Sequence[Segment], wanted: Sequence[int]) -> torch.Tensor:
        """Append segments; return the logits at the wanted places, of shape (wanted, vocabulary)."""
        ids, owners, parents, images, positions = (
            torch.tensor(values)
            for values in zip(
                *(
                    (token, s.owner, s.parent, s.image, self._depths[s.image] + s.depth + place)
                    for s in segments
                    for place, token in enumerate(s.tokens)
                ),
                strict=True,
            )
        )
        return self._forward(ids, positions, self._seen(owners, parents, images), torch.tensor(wanted), {})

    def _seen(self, owners: torch.Tensor, parents: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Append the owners of new tokens; return which tokens each of these attends to."""
        before, new = len(self._owners), len(owners)
        self._owners = torch.cat([self._owners, owners])
        seen = (
            (self._owners == images[:, None]) | (self._owners == owners[:, None]) | (self._owners == parents[:, None])
        )
        seen[:, before:] &= torch.ones(new, new, dtype=torch.bool).tril()
        return seen[None, None]

    def forget_prompts(self, but: Sequence[int]) -> None:
        """Reduce the cache to the images and the prompts whose owners are given."""
        kept = (self._owners <= 0) | torch.isin(self._owners, torch.tensor(but, dtype=torch.long))
        self._owners = self._owners[kept]
        layers: Any = self._cache.layers
        for layer in layers:
            layer.keys, layer.values = (states[:, :, kept.to(states.device)] for states in (layer.keys, layer.values))

    def _forward(
        self, ids: torch.Tensor, positions: torch.Tensor, seen: torch.Tensor, wanted: torch.Tensor, inputs: Any
    ) -> torch.Tensor:
        device = self._model.device
        known = {name: value.to(device) for name, value in inputs.items() if name != "image_features"}
        if "image_features" in inputs:
            known |= as_model_input([feature.to(device) for feature in inputs["image_features"]])
        found = self._model(
            input_ids=ids[None].to(device),
            position_ids=positions[None].to(device),
            attention_mask=seen.to(device),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=wanted.to(device),
            **known,
        )
        check_finite(found.logits, "logits", ", ".join(self._ids), self._model)
        return found.logits[0]
