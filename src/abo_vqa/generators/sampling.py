"""Sample the next tokens from a model's scores: grammar mask, warping, and a random stream per row."""

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
    """Return the logits processors for one call of `generate` with greedy search.

    grammar: a compiled xgrammar, None for free text. rngs: one generator per row. Order: repetition penalty, grammar,
    temperature, top-k, top-p, draw; so top-k and top-p apply to the tokens that the grammar allows.
    """
    chain: list[LogitsProcessor] = [RefuseNonFinite()]
    if params.repetition_penalty != 1:
        chain.append(RepetitionPenaltyLogitsProcessor(params.repetition_penalty))
    if grammar is not None:
        # Stateful: it follows the rows token by token.
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
    """Stops generation after a numeric overflow, which would otherwise produce noise without an error."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores unchanged; raises InputError if one is NaN or plus infinity."""
        if (scores.isnan() | scores.isposinf()).any():
            raise InputError(
                "generate.vlm: the model's scores are not finite; set generate.vlm.quantization.compute_dtype to "
                "bfloat16 or float32"
            )
        return scores


class DrawPerRow(LogitsProcessor):
    """Draws the next token of every row with that row's generator, one number per token (inverse transform).

    The scores that it returns allow the drawn token only, so greedy search takes it. The sampling of `generate` uses
    one random stream for all rows, so that a row's numbers depend on the rest of the batch.
    """

    def __init__(self, rngs: Sequence[Random]) -> None:
        self._rngs = rngs

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores, of shape (rows, vocabulary), that are zero at the drawn token and -inf elsewhere."""
        # On the CPU: a cumulative sum on a GPU is not reproducible to the bit.
        cumulative = scores.cpu().double().softmax(dim=-1).cumsum(dim=-1)
        # random() is below 1, so the search never ends after the last allowed token.
        numbers = torch.tensor([[rng.random()] for rng in self._rngs], dtype=torch.float64) * cumulative[:, -1:]
        drawn = torch.searchsorted(cumulative, numbers, right=True).to(scores.device)
        return torch.full_like(scores, float("-inf")).scatter_(1, drawn, 0.0)
