"""How far two models that should be one answer the same questions alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import read_image_bytes
from abo_vqa.common.params import Params
from abo_vqa.common.params.measure import ConditionParams
from abo_vqa.inference.ask import BLANK, ask_all, blank_image, prompts_by_image
from abo_vqa.inference.conditions import Asked, Distractors, ask_under
from abo_vqa.inference.prompt_tree.choose import scorer_for

CONDITIONS = {"open": ConditionParams(options="none"), "options": ConditionParams()}


@dataclass(frozen=True)
class Parity:
    """Agreement over all answers.

    answers: their number; equal: how many greedy ones are the same; options: number of log-probabilities; median,
    largest: absolute difference of these (nats).
    """

    answers: int
    equal: int
    options: int
    median: float
    largest: float


class Questions:
    """Questions of the test split under the conditions `open` and `options`, for one model after another."""

    def __init__(self, params: Params, arm: str, rows: Sequence[dict[str, Any]]) -> None:
        """Take the questions; arm: of the model, whose prompt they are asked with."""
        self.count = len(rows)
        self._params, self._rows, self._prompt = params, rows, params.prompt_of(arm)
        # Neither condition draws distractors.
        self._asked: dict[str, list[Asked]] = {
            name: ask_under(rows, name, shown, Distractors([]), params.seed) for name, shown in CONDITIONS.items()
        }
        self._images = read_image_bytes(row["image_id"] for row in rows) | {BLANK: blank_image()}

    def ask(self, model: Any, processor: Any, label: str) -> pd.DataFrame:
        """Return a model's answers as `ask_all`; every image is encoded anew, so that pixels are compared too."""
        limits = self._params.evaluate.max_new_tokens, self._params.evaluate.tokens_per_pass
        prompts = prompts_by_image(self._asked, self._prompt)
        scorer = scorer_for(model, processor, self._images, prompts, None, *limits)
        return ask_all(scorer, self._prompt, self._rows, self._asked, label)


def parity(before: pd.DataFrame, after: pd.DataFrame) -> Parity:
    """Return how far two models' answers to the same questions agree; InputError if a log-probability is no number."""
    equal = [list(old) == list(new) for old, new in zip(before["generated"], after["generated"], strict=True)]
    differences = np.abs(_scores(before) - _scores(after))
    if not np.isfinite(differences).all():
        raise InputError("a model gives an option a log-probability that is no number; nothing is exported")
    return Parity(
        len(equal), sum(equal), len(differences), float(np.median(differences)), float(differences.max(initial=0.0))
    )


def _scores(answers: pd.DataFrame) -> Any:
    return np.array([score for row in answers["log_probabilities"] for order in row for score in order])
