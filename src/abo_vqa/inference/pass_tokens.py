"""How many text tokens a forward pass of the evaluation has."""

from typing import Literal

# The fastest for the demo on a CPU, whose speed does not grow with the pass.
WITHOUT_GPU = 512
MOST = 4096
# Bytes per token and vocabulary entry: logits in 16 bits, then in float32, and with the end's column.
_BYTES = 16


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
