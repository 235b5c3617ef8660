"""Passes of the evaluation, and images of a generation, grow with the GPU's memory."""

import torch
from transformers import MistralConfig

from abo_vqa.model.base.memory import (
    FILLED,
    IMAGES_WITHOUT_GPU,
    MOST,
    MOST_IMAGES,
    WITHOUT_GPU,
    cache_bytes,
    images_at_once,
    pass_tokens,
)

GIB = 2**30
GEMMA, MISTRAL = 257_216, 32_064


def test_a_set_number_is_kept() -> None:
    assert pass_tokens(100, GEMMA, None) == pass_tokens(100, GEMMA, 80 * GIB) == 100


def test_logits_take_a_quarter_of_the_memory_at_most() -> None:
    assert pass_tokens("auto", GEMMA, None) == WITHOUT_GPU
    for memory, expected in ((14.7, 512), (39.4, 2048), (79.1, 4096)):
        tokens = pass_tokens("auto", GEMMA, int(memory * GIB))
        assert tokens == expected
        assert tokens * GEMMA * 16 <= memory * GIB / 4
    assert pass_tokens("auto", MISTRAL, int(14.7 * GIB)) == MOST
    assert pass_tokens("auto", GEMMA, 1) == 1


def test_cards_of_a_kind_get_the_same_number() -> None:
    # Drivers keep more or less for themselves.
    assert len({pass_tokens("auto", GEMMA, int(memory * GIB)) for memory in (14.56, 14.75, 15.0)}) == 1


def test_images_of_a_generation_have_their_cache_beside_the_weights() -> None:
    # LLaVA-v1.6-Mistral-7B in 4 bits: 32 layers of 8 heads of 128, keys and values, two bytes each.
    cache = cache_bytes(MistralConfig(), torch.float16)
    assert cache == 2 * 32 * 8 * 128 * 2
    weights, tokens = int(4.6e9), 3000

    def images(memory: float, setting: int | str = "auto") -> int:
        return images_at_once(setting, tokens, cache, MISTRAL, weights, int(memory * GIB))  # type: ignore[arg-type]

    assert [images(memory) for memory in (5, 14.7, 39.4, 79.1)] == [1, 16, 64, MOST_IMAGES]
    assert images(14.7) * (tokens * cache + 8 * MISTRAL) + weights <= FILLED * 14.7 * GIB
    assert images(14.7, 3) == 3 == images_at_once(3, tokens, cache, MISTRAL, weights, None)
    assert images_at_once("auto", tokens, cache, MISTRAL, weights, None) == IMAGES_WITHOUT_GPU
    assert images(14.56) == images(15.0), "cards of a kind"
