"""From a model's scores to its next tokens: what may follow, how likely, and each row's own draw."""

from collections.abc import Sequence
from random import Random
from typing import Any

import torch
from transformers import (
    LogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from xgrammar.contrib.hf import LogitsProcessor as GrammarMask

from abo_vqa.common.errors import InputError
from abo_vqa.common.params.data import SamplingParams


def logits_processors(params: SamplingParams, grammar: Any | None, rngs: Sequence[Random]) -> list[LogitsProcessor]:
    """Return the processors of one call of `generate`, to be used with its greedy search and for that call alone.

    grammar: a compiled xgrammar, None for free text. rngs: one generator a row. Order: repetition penalty, grammar,
    temperature, top-k, top-p, draw; so the shares of top-k and top-p are shares of what the grammar lets follow.
    """
    chain: list[LogitsProcessor] = [RefuseNonFinite()]
    if params.repetition_penalty != 1:
        chain.append(RepetitionPenaltyLogitsProcessor(params.repetition_penalty))
    if grammar is not None:
        # It follows the rows token by token, from the first call to the last.
        chain.append(GrammarMask(grammar))
    if params.do_sample:
        chain.append(TemperatureLogitsWarper(params.temperature))
        if params.top_k:
            chain.append(TopKLogitsWarper(params.top_k))
        if params.top_p < 1:
            chain.append(TopPLogitsWarper(params.top_p))
        chain.append(DrawPerRow(rngs))
    return chain


class RefuseNonFinite(LogitsProcessor):
    """Stops a model that has lost itself in an overflow, and that would otherwise write noise without a word."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores as they are; raises InputError if one is not a number or plus infinity."""
        if (scores.isnan() | scores.isposinf()).any():
            raise InputError(
                "generate.vlm: the model's scores are not finite; set generate.vlm.quantization.compute_dtype to "
                "bfloat16 or float32"
            )
        return scores


class DrawPerRow(LogitsProcessor):
    """Draws the next token of every row with that row's own generator, one number a token (inverse transform).

    The scores that it returns leave the drawn token alone, so that the greedy search which follows takes it. `generate`
    itself samples all rows from one stream of numbers, where a row's depend on the rows beside it.
    """

    def __init__(self, rngs: Sequence[Random]) -> None:
        self._rngs = rngs

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores, of shape (rows, vocabulary), that are zero at the drawn token and -inf elsewhere."""
        # On the CPU: a cumulative sum on a GPU need not give the same bits twice.
        cumulative = scores.cpu().double().softmax(dim=-1).cumsum(dim=-1)
        # Below the total, since random() is below 1; so the search never ends behind the last token that can follow.
        numbers = torch.tensor([[rng.random()] for rng in self._rngs], dtype=torch.float64) * cumulative[:, -1:]
        drawn = torch.searchsorted(cumulative, numbers, right=True).to(scores.device)
        return torch.full_like(scores, float("-inf")).scatter_(1, drawn, 0.0)
