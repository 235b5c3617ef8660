"""A forest in a key-value cache: images as roots, beginnings of prompts under them, options under prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from abo_vqa.model.features import as_model_input
from abo_vqa.model.finite import check_finite


@dataclass(frozen=True)
class Segment:
    """Consecutive tokens of a node of the tree."""

    tokens: Sequence[int]
    node: int


class Tree:
    """Images in a key-value cache, then segments that attend to their node and the nodes above it, up to their image.

    Images are the nodes 0, 1, 2 ..., in their order; `grow` makes the others.
    """

    def __init__(self, model: Any, images: Mapping[str, tuple[Sequence[int], Mapping[str, Any]]]) -> None:
        """Read the images; images: by id, the tokens of each prefix and the model's further inputs."""
        self._model, self._ids = model, list(images)
        # Of every node: the nodes from its image to itself, and the position behind its last token.
        self._paths = [[image] for image in range(len(images))]
        self._ends: dict[int, int] = {}
        self._cache = DynamicCache()
        self._nodes = torch.empty(0, dtype=torch.long)  # of every token in the cache
        for image, (prefix, inputs) in enumerate(images.values()):
            self._ends[image] = len(prefix)
            seen = self._seen([image] * len(prefix))
            positions = torch.arange(len(prefix))
            self._forward(torch.tensor(prefix), positions, seen, torch.tensor([len(prefix) - 1]), inputs)

    def grow(self, above: int) -> int:
        """Return a new node under a node."""
        self._paths.append([*self._paths[above], len(self._paths)])
        return len(self._paths) - 1

    def read(self, segments: Sequence[Segment], wanted: Sequence[int]) -> torch.Tensor:
        """Append segments, each behind what its node has, or behind the node above; return the logits at the wanted
        places of the pass, of shape (wanted, vocabulary)."""
        ids: list[int] = []
        nodes: list[int] = []
        positions: list[int] = []
        for segment in segments:
            start = self._ends.get(segment.node, self._ends[self._paths[segment.node][-2]])
            self._ends[segment.node] = start + len(segment.tokens)
            ids += segment.tokens
            nodes += [segment.node] * len(segment.tokens)
            positions += range(start, self._ends[segment.node])
        seen = self._seen(nodes)
        return self._forward(torch.tensor(ids), torch.tensor(positions), seen, torch.tensor(wanted), {})

    def _seen(self, nodes: Sequence[int]) -> torch.Tensor:
        """Append the nodes of new tokens; return which tokens each of these attends to."""
        before, new = len(self._nodes), len(nodes)
        self._nodes = torch.cat([self._nodes, torch.tensor(nodes)])
        rows = {node: row for row, node in enumerate(dict.fromkeys(nodes))}
        above = [(row, other) for node, row in rows.items() for other in self._paths[node]]
        on_path = torch.zeros(len(rows), len(self._paths), dtype=torch.bool)
        on_path[tuple(torch.tensor(above).T)] = True
        seen = on_path[:, self._nodes][[rows[node] for node in nodes]]
        seen[:, before:] &= torch.ones(new, new, dtype=torch.bool).tril()
        return seen[None, None]

    def forget_prompts(self, but: Sequence[int]) -> None:
        """Reduce the cache to the images, the given nodes and those above them."""
        wanted = {*range(len(self._ids)), *(node for one in but for node in self._paths[one])}
        kept = torch.isin(self._nodes, torch.tensor(sorted(wanted)))
        self._nodes = self._nodes[kept]
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
