"""The memory of the GPU that this process computes on."""

import gc

import torch


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
