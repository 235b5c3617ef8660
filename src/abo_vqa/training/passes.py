"""Divide an optimizer step's sequences into forward passes that fit into memory."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

# Share of a GPU's memory that is used; the rest is left for the allocator's gaps.
USABLE = 0.92
# Bytes beside the model: CUDA and its libraries, the largest weight dequantized, the answers' logits.
RUNTIME = 0.75 * 2**30


def passes(batch: dict[str, Any], tokens: int | None) -> list[dict[str, Any]]:
    """Divide a collated batch between its sequences into passes of at most `tokens` tokens, padding included.

    None: one pass. A pass has at least one sequence. Padding that no sequence of a pass needs is cut off.
    """
    if tokens is None:
        return [batch]
    lengths = _lengths(batch["attention_mask"])
    parts: list[list[int]] = []
    for row, length in enumerate(lengths):
        longest = max([length, *(lengths[other] for other in parts[-1])]) if parts else length
        if parts and longest * (len(parts[-1]) + 1) <= tokens:
            parts[-1].append(row)
        else:
            parts.append([row])
    return [_rows(batch, part[0], part[-1] + 1, max(lengths[row] for row in part)) for part in parts]


def _lengths(mask: torch.Tensor) -> list[int]:
    # Of shape (sequences, 1, length, length): every token but padding attends to the first.
    return (mask[:, 0, :, 0] if mask.dim() == 4 else mask).sum(1).tolist()


def _rows(batch: dict[str, Any], first: int, end: int, length: int) -> dict[str, Any]:
    part = {name: values[first:end] for name, values in batch.items()}
    whole = batch["input_ids"].shape[1]
    # All that is by token: ids, labels, types, positions of one axis or several.
    by_token = (name for name, values in part.items() if isinstance(values, torch.Tensor) and values.shape[-1] == whole)
    part |= {name: part[name][..., :length] for name in by_token}
    if part["attention_mask"].dim() == 4:
        part["attention_mask"] = part["attention_mask"][:, :, :length]
    return part


def kept_bytes(forward: Callable[[], torch.Tensor], model: torch.nn.Module) -> int:
    """Return the bytes that a forward pass keeps for its backward pass, the model's weights not counted."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = forward()
    # The graph holds the storages until here, so that no two of them had the same address.
    del loss
    return sum(kept.values())


def tokens_that_fit(total: int, used: int, trainable: int, bytes_per_token: float) -> int:
    """Return how many tokens a pass may have on a GPU with `total` bytes of memory, of which `used` are taken.

    trainable: number of trained weights, each with a gradient and two moments in float32.
    """
    return max(1, int((USABLE * total - RUNTIME - used - 12 * trainable) / bytes_per_token))


class RandomState:
    """The random state of the CPU and the current GPU, to repeat what was computed since."""

    def __init__(self) -> None:
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None

    def restore(self) -> None:
        """Go back to this state."""
        torch.set_rng_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda)


def gradients(model: torch.nn.Module) -> Iterator[tuple[torch.nn.Parameter, torch.Tensor | None]]:
    """Yield the trained weights with copies of their gradients."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            yield parameter, None if parameter.grad is None else parameter.grad.clone()
