"""The memory of the GPU that this process computes on, and how many tokens of an evaluation it holds."""

import gc
from typing import Literal

import torch

# The fastest for the demo on a CPU, whose speed does not grow with the pass.
WITHOUT_GPU = 512
MOST = 4096
# Bytes per token and vocabulary entry: logits in 16 bits, then in float32, and with the end's column.
_BYTES = 16


def gpu_memory() -> int | None:
    """Return the current GPU's memory in bytes, taken or not; None without a GPU."""
    if not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory


def free_memory() -> None:
    """Return what the garbage collector and the GPU's allocator hold."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def pass_tokens(setting: int | Literal["auto"], vocabulary: int, memory: int | None) -> int:
    """Return the text tokens of a forward pass; auto: as many as have their logits in a quarter of the GPU's memory.

    memory: of the GPU in bytes, None without one. A power of two, equal for all GPUs of a kind.
    """
    if setting != "auto":
        return setting
    if memory is None:
        return WITHOUT_GPU
    fit = max(1, memory // (4 * _BYTES * vocabulary))
    return min(MOST, 1 << (fit.bit_length() - 1))
