"""P(answer | text), the answer likelihood from which matched options are drawn.

Multinomial logistic regression on words of the question, one model per question type (scikit-learn). The regularization
strength minimizes the log loss of held-out answers, which calibrates the probabilities.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Candidate inverse strengths of the L2 penalty.
STRENGTHS = (0.1, 0.5, 2.0, 5.0, 12.0, 30.0)
_BEGINNING, _WORD = "<s>", re.compile(r"[^\s?.,!]+")
# More digits than the data support, and fewer than differ between machines.
_DECIMALS = 6

Probabilities = NDArray[np.float64]


@dataclass(frozen=True)
class Fitted:
    """Probabilities of the answers in `vocabulary`, of shape (texts, answers).

    cross_fitted: for the training texts, each by a model that did not see its group. others: for the other texts, by a
    model fitted on all. strength: the chosen one of STRENGTHS. log_loss: cross-fitted, in nats per answer.
    """

    vocabulary: tuple[str, ...]
    cross_fitted: Probabilities
    others: Probabilities
    strength: float
    log_loss: float


def fit_answers(
    texts: Sequence[str],
    answers: Sequence[str],
    groups: Sequence[str],
    others: Sequence[str],
    folds: int,
    least_answers: int,
) -> Fitted | None:
    """Fit P(answer | text) and predict it for the same texts, cross-fitted over groups, and for `others`.

    The vocabulary is the answers that occur at least `least_answers` times; texts with another answer are predicted,
    but not fitted on. None if that leaves fewer than two answers, or fewer groups than folds.
    """
    from sklearn.model_selection import GroupKFold

    counts = Counter(answers)
    vocabulary = tuple(sorted(answer for answer, count in counts.items() if count >= least_answers))
    if len(vocabulary) < 2 or len(set(groups)) < folds:
        return None
    place = {answer: index for index, answer in enumerate(vocabulary)}
    codes = np.array([place.get(answer, -1) for answer in answers])
    known = codes >= 0
    parts = [
        (fitting[known[fitting]], held)
        for fitting, held in GroupKFold(folds).split(codes, groups=np.asarray(groups, object))
    ]
    words = [_vectorize([texts[i] for i in fitting], [texts[i] for i in held]) for fitting, held in parts]

    def held_out(fold: int, strength: float) -> Probabilities:
        (fitting, _), (seen, asked) = parts[fold], words[fold]
        return _predict(seen, codes[fitting], asked, len(vocabulary), strength)

    def loss(fold: int, strength: float) -> float:
        held = parts[fold][1]
        return _log_loss(held_out(fold, strength)[known[held]], codes[held][known[held]])

    # One fold suffices: it costs a fifth, and the loss is flat around its minimum.
    strength = min(STRENGTHS, key=lambda candidate: (loss(0, candidate), candidate))
    cross_fitted = np.zeros((len(texts), len(vocabulary)))
    for fold, (_, held) in enumerate(parts):
        cross_fitted[held] = held_out(fold, strength)
    seen, asked = _vectorize([text for text, there in zip(texts, known, strict=True) if there], others)
    predicted = _predict(seen, codes[known], asked, len(vocabulary), strength)
    return Fitted(vocabulary, cross_fitted, predicted, strength, _log_loss(cross_fitted[known], codes[known]))


def _log_loss(chances: Probabilities, codes: NDArray[np.int64]) -> float:
    found = chances[np.arange(len(codes)), codes]
    # Probabilities are rounded, so zero means below the last digit.
    return float(f"{-np.log(np.maximum(found, 0.1**_DECIMALS)).mean():.6g}") if len(codes) else 0.0


def _vectorize(fitting: Sequence[str], others: Sequence[str]) -> tuple[Any, Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    # Unweighted binary rows of length one, so that long questions do not dominate. A feature of a single text does not
    # generalize. The start token is in all texts, so the vocabulary is never empty.
    vectorizer = TfidfVectorizer(analyzer=_features, binary=True, use_idf=False, min_df=min(2, len(fitting) or 1))
    seen = vectorizer.fit_transform(fitting or [""])
    return seen, vectorizer.transform(others) if others else seen[:0]


def _features(text: str) -> list[str]:
    """Return the words, the word pairs, and the whole text, since generators repeat questions."""
    words = [_BEGINNING, *_WORD.findall(text.lower())]
    return [*words, *map(" ".join, pairwise(words)), " ".join(["=", *words])]


def _predict(seen: Any, codes: NDArray[np.int64], asked: Any, answers: int, strength: float) -> Probabilities:
    from sklearn.linear_model import LogisticRegression

    found = np.zeros((asked.shape[0], answers))
    if not asked.shape[0]:
        return found
    if len(present := np.unique(codes)) < 2:
        found[:, present] = 1
        return found
    model = LogisticRegression(C=strength, max_iter=1000, tol=1e-4).fit(seen, codes)
    found[:, model.classes_] = model.predict_proba(asked)
    return found.round(_DECIMALS)
