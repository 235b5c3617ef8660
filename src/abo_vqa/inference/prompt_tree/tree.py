"""A forest in a key-value cache: images as roots, beginnings of prompts under them, options under prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import DynamicCache

from abo_vqa.model.families.family import Tensors
from abo_vqa.model.families.lookup import family_of
from abo_vqa.model.finite import check_finite
from abo_vqa.model.images import image_inputs
from abo_vqa.model.shared_image import SharedSequence, both_ways


@dataclass(frozen=True)
class Segment:
    """Consecutive tokens of a node of the tree."""

    tokens: Sequence[int]
    node: int


class Tree:
    """Images in a key-value cache, then segments that attend to their node and the nodes above it, up to their image.

    Images are the nodes 0, 1, 2 ..., in their order; `grow` makes the others.
    """

    def __init__(self, model: Any, images: Mapping[str, tuple[SharedSequence, Tensors]]) -> None:
        """Read the images; images: by id, the sequence of each without questions and the model's further inputs."""
        self._model, self._ids, self._family = model, list(images), family_of(model.config)
        # Of every node: the nodes from its image to itself, and the position behind its last token.
        self._paths = [[image] for image in range(len(images))]
        self._ends: dict[int, int] = {}
        self._cache = DynamicCache()
        self._nodes = torch.empty(0, dtype=torch.long)  # of every token in the cache
        self._places: list[torch.Tensor] = []  # their positions, each of shape (axes, tokens)
        for image, (sequence, inputs) in enumerate(images.values()):
            prefix, positions = sequence.prefix, cast(torch.Tensor, sequence.positions)
            self._ends[image] = int(positions.max()) + 1
            seen = self._seen([image] * len(prefix))
            if sequence.blocks is not None:
                seen[..., -len(prefix) :] |= both_ways(sequence.blocks)
            self._forward(torch.tensor(prefix), positions, seen, torch.tensor([len(prefix) - 1]), [inputs])

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
        axes = torch.tensor(positions).expand(len(self._places[0]), -1)
        return self._forward(torch.tensor(ids), axes, seen, torch.tensor(wanted), [])

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
        self._places = [torch.cat(self._places, dim=1)[:, kept]]
        layers: Any = self._cache.layers
        for layer in layers:
            layer.keys, layer.values = (states[:, :, kept.to(states.device)] for states in (layer.keys, layer.values))

    def _forward(
        self,
        ids: torch.Tensor,
        positions: torch.Tensor,
        seen: torch.Tensor,
        wanted: torch.Tensor,
        images: Sequence[Tensors],
    ) -> torch.Tensor:
        device, dtype = self._model.device, self._model.dtype
        self._places.append(positions)
        asking, asked = positions[None], torch.cat(self._places, dim=1)[None]
        if len(positions) == 1:
            asking, asked = asking[:, 0], asked[:, 0]
        mask = self._family.masks(seen.to(device), asking.to(device), asked.to(device), dtype)
        on_device = [{name: value.to(device) for name, value in image.items()} for image in images]
        found = self._model(
            input_ids=ids[None].to(device),
            # Models take the axes first.
            position_ids=(asking if asking.dim() == 2 else asking.transpose(0, 1)).to(device),
            attention_mask=mask,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=wanted.to(device),
            **image_inputs(self._family, on_device),
        )  # fmt: skip
        check_finite(found.logits, "logits", ", ".join(self._ids), self._model)
        return found.logits[0]
