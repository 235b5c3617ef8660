"""The memory of the GPU that this process computes on, and how much of an evaluation or a generation it holds."""

import gc
from typing import Any, Literal

import torch

# The fastest for the demo on a CPU, whose speed does not grow with the pass.
WITHOUT_GPU = 512
MOST = 4096
# Bytes per token and vocabulary entry: logits in 16 bits, then in float32, and with the end's column.
_BYTES = 16
# Images whose questions are written at once: without a GPU, and at most; and the share of a GPU for weights and cache.
IMAGES_WITHOUT_GPU, MOST_IMAGES, FILLED = 8, 64, 0.85


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


def cache_bytes(config: Any, dtype: torch.dtype) -> int:
    """Return the bytes of keys and values that a token leaves in the language model's cache."""
    text = config.get_text_config()
    heads = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return 2 * text.num_hidden_layers * text.num_key_value_heads * heads * dtype.itemsize


def images_at_once(
    setting: int | Literal["auto"], tokens: int, cache: int, vocabulary: int, weights: int, memory: int | None
) -> int:
    """Return the images of a generation; auto: as many as have their cache in the GPU's memory beside the weights.

    tokens: of the longest prompt and output; cache: bytes per token; weights: bytes; memory: of the GPU in bytes, None
    without one. A power of two, equal for all GPUs of a kind.
    """
    if setting != "auto":
        return setting
    if memory is None:
        return IMAGES_WITHOUT_GPU
    # The last token's scores in float32, and a copy that the sampling changes.
    fit = max(1, int((FILLED * memory - weights) / (tokens * cache + 8 * vocabulary)))
    return min(MOST_IMAGES, 1 << (fit.bit_length() - 1))
