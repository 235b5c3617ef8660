"""BERTScore of short answers, with the fixes that bert-score 0.3.13 needs on transformers 5."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from abo_vqa.common.errors import InputError
from abo_vqa.common.project import resolve_model

_PARAMETER = "evaluate.bertscore_model"
_PACKAGE = "package:"
_MAX_LENGTH = 512
_DECIMALS = 6


class BertScorer:
    """BERTScore (Zhang et al. 2020) with a given encoder, loaded at the first pair to score.

    model: a Hugging Face id, a folder, or `package:NAME`; layers: the encoder layer whose states are compared.
    """

    def __init__(self, model: str, layers: int) -> None:
        self._name = model
        self._path = resolve_model(model, _PARAMETER)
        self._layers = layers
        self._scores: dict[tuple[str, str], tuple[float, ...]] = {}
        self._scorer: Any = None

    def score(self, predictions: Sequence[str], answers: Sequence[str]) -> NDArray[np.float64]:
        """Return precision, recall and F1 of each pair, of shape (pairs, 3).

        Each scorer computes a distinct pair once. An empty prediction, for which bert-score raises, scores 0, as does
        a pair without tokens.
        """
        pairs = list(zip(predictions, answers, strict=True))
        fresh = sorted({pair for pair in pairs if all(text.strip() for text in pair)} - self._scores.keys())
        if fresh:
            scores = np.nan_to_num(self._run(fresh)).round(_DECIMALS)
            self._scores |= {pair: tuple(row) for pair, row in zip(fresh, scores.tolist(), strict=True)}
        return np.array([self._scores.get(pair, (0.0, 0.0, 0.0)) for pair in pairs], float).reshape(-1, 3)

    def score_rescaled(self, predictions: Sequence[str], answers: Sequence[str]) -> NDArray[np.float64] | None:
        """Return each pair's F1 as bert-score gives it with rescale_with_baseline=True, None without its baseline."""
        floor = shipped_baseline(self._name, self._layers)
        return None if floor is None else (self.score(predictions, answers)[:, 2] - floor) / (1 - floor)

    def _run(self, pairs: list[tuple[str, str]]) -> NDArray[np.float64]:
        import torch

        scorer = self._load()
        predictions, answers = zip(*pairs, strict=True)
        # One text at a time: bert-score fills its batches in the order of a set, which differs from process to process,
        # and a text's last digits depend on its batch.
        values = scorer.score(list(predictions), list(answers), batch_size=1)
        return torch.stack(values, dim=1).double().numpy()

    def _load(self) -> Any:
        if self._scorer is None:
            self._scorer = load_scorer(self._path, self._layers, self._name)
        return self._scorer


def shipped_baseline(model: str, layers: int) -> float | None:
    """Return the F1 baseline that bert-score ships for English, None if it has none for the model and layer.

    Files are named by Hugging Face id; a folder is taken for the model of that id if it has its name.
    """
    import pandas as pd

    spec = find_spec("bert_score")
    if spec is None or spec.origin is None or model.startswith(_PACKAGE):
        return None
    shipped = Path(spec.origin).parent / "rescale_baseline/en"
    names = ["/".join(Path(model).parts[-count:]) for count in (2, 1)] if Path(model).is_dir() else [model]
    file = next((path for name in names if (path := shipped / f"{name}.tsv").is_file()), None)
    rows = pd.read_csv(file) if file else None
    return float(rows["F"].iloc[layers]) if rows is not None and layers < len(rows) else None


def load_scorer(path: str, layers: int, name: str) -> Any:
    """Return a bert_score.BERTScorer with a corrected tokenizer; InputError if the encoder cannot be used."""
    # Imported here: bert_score imports torch and matplotlib.
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
    """Return the encoder's tokenizer, which adds a space before the first word and truncates at 512 tokens.

    bert-score passes `add_prefix_space` at every call, which transformers 5 ignores: byte-level tokenizers (RoBERTa,
    GPT-2) would then tokenize a one-word answer as the middle of a word, and every score would shift.
    """
    from transformers import AutoTokenizer

    # Tokenizers without this setting, such as BERT's, ignore it.
    tokenizer = AutoTokenizer.from_pretrained(path, add_prefix_space=True, trust_remote_code=False)
    tokenizer.model_max_length = min(tokenizer.model_max_length, _MAX_LENGTH)
    return tokenizer
