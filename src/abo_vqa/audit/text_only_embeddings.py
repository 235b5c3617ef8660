"""Text-only baselines on sentence embeddings: boosted trees and nearest neighbors.

Unlike the n-gram models, and so unlike the answer likelihood behind matched options, they know that a sofa is a kind of
chair; so they test the matching with models that it is not fitted to.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abo_vqa.common.errors import InputError
from abo_vqa.common.project import resolve_model
from abo_vqa.common.schema import QUESTION_TYPES

Array = NDArray[np.float64]
Vectors = Mapping[str, Array]
"""The unit-length embedding of every question and option."""

NEIGHBORS = 20
_PARAMETER = "audit.encoder"
_BATCH = 256
# Enough digits, and equal on machines that sum in another order.
_DECIMALS = 4
# Principal components of the question's and the option's embedding that are features of the trees.
_COMPONENTS = 12
_INNER_FOLDS = 5
_FREQUENCIES = 6
# Decay of a neighbor's weight with its cosine distance, and number of questions compared at once.
_SHARPNESS, _ROWS = 10.0, 2048


def embed(texts: Iterable[str], encoder: str) -> dict[str, Array]:
    """Return the unit-length, mean-pooled embedding of every distinct text (Reimers and Gurevych 2019).

    encoder: a Hugging Face id, a folder, or `package:NAME`. Raises InputError if it cannot be loaded.
    """
    # Imported here: it takes seconds, and only the audit needs it.
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    path = resolve_model(encoder, _PARAMETER)
    disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        model = AutoModel.from_pretrained(path, trust_remote_code=False).eval()
    except (OSError, ValueError) as error:
        raise InputError(f"{_PARAMETER}: {encoder} cannot be loaded: {str(error).splitlines()[0]}") from error
    # By length, to reduce padding; then by text, so that batches do not depend on the order of the questions.
    distinct = sorted(set(texts), key=lambda text: (len(text), text))
    found: dict[str, Array] = {}
    for start in range(0, len(distinct), _BATCH):
        part = distinct[start : start + _BATCH]
        tokens = tokenizer(part, padding=True, truncation=True, max_length=64, return_tensors="pt")
        with torch.inference_mode():
            states = model(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1)
        means = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)
        found |= dict(zip(part, means.double().numpy().round(_DECIMALS), strict=True))
    return found


def embedding_trees(train: pd.DataFrame, test: pd.DataFrame, vectors: Vectors) -> Array:
    """Pick the option that gradient-boosted trees score highest (scikit-learn, HistGradientBoostingClassifier).

    Each option is one row, right or wrong; its features are the embeddings of question and option, its similarity to
    the question and the other options, its position, and how often it is right in train: in its type, and for the
    nearest questions.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    space = _components(train, vectors)
    seen = np.hstack([_described(train, vectors, space), _inner_frequencies(train, vectors)])
    asked = np.hstack([_described(test, vectors, space), _frequencies(train, test, vectors)])
    model = HistGradientBoostingClassifier(
        max_iter=100, learning_rate=0.08, max_leaf_nodes=15, min_samples_leaf=40, l2_regularization=1.0, random_state=0
    )
    model.fit(seen, _right(train))
    scores = model.decision_function(asked)
    ends = np.cumsum([len(options) for options in test["options"]])
    return score_picks(test, [int(np.argmax(part)) for part in np.split(scores, ends[:-1])])


def embedding_neighbors(train: pd.DataFrame, test: pd.DataFrame, vectors: Vectors) -> Array:
    """Answer, without options, as the weighted majority of the nearest questions of the type in train."""
    predicted = np.empty(len(test), object)
    for kind, asked in _places_by_type(test).items():
        known = train[train["question_type"] == kind]
        if known.empty:
            continue
        answers, codes = np.unique(known["answer"].to_numpy(str), return_inverse=True)
        nearest, weights = _nearest(known["question"], test["question"].iloc[asked], vectors)
        votes = np.zeros((len(asked), len(answers)))
        np.add.at(votes, (np.arange(len(asked))[:, None], codes[nearest]), weights)
        predicted[asked] = answers[votes.argmax(axis=1)]
    return (predicted == test["answer"].to_numpy()).astype(float)


def score_picks(table: pd.DataFrame, picks: Iterable[int]) -> Array:
    """Return 1 if the option at the picked position is the answer, else 0, per row."""
    rows = zip(table["options"], table["answer"], picks, strict=True)
    return np.array([options[pick] == answer for options, answer, pick in rows], float)


def _right(table: pd.DataFrame) -> list[bool]:
    rows = zip(table["options"], table["answer"], strict=True)
    return [option == answer for options, answer in rows for option in options]


def _places_by_type(table: pd.DataFrame) -> dict[str, NDArray[np.intp]]:
    return {
        str(kind): np.asarray(places) for kind, places in table.reset_index().groupby("question_type").indices.items()
    }


def _stack(texts: Iterable[str], vectors: Vectors) -> Array:
    return np.array([vectors[text] for text in texts])


def _components(train: pd.DataFrame, vectors: Vectors) -> tuple[Array, Array]:
    """Return the bases of the principal components of train's distinct questions and of its distinct options."""
    questions = sorted(set(train["question"]))
    options = sorted({option for row in train["options"] for option in row})
    return _basis(_stack(questions, vectors)), _basis(_stack(options, vectors))


def _basis(points: Array) -> Array:
    values, basis = np.linalg.eigh(np.cov(points, rowvar=False) if len(points) > 1 else np.eye(points.shape[1]))
    return basis[:, np.argsort(-values)[:_COMPONENTS]]


def _described(table: pd.DataFrame, vectors: Vectors, space: tuple[Array, Array]) -> Array:
    """Return the features of each option, of shape (options, features)."""
    rows = []
    types = list(QUESTION_TYPES)
    for kind, question, options in zip(table["question_type"], table["question"], table["options"], strict=True):
        asked, offered = vectors[question], _stack(options, vectors)
        to_question = offered @ asked
        to_others = ((offered @ offered.T).sum(axis=1) - 1) / max(len(options) - 1, 1)
        numbers = np.array([float(option) if option.isascii() and option.isdigit() else -1.0 for option in options])
        words = set(question.lower().strip(" ?.").split())
        own = [
            np.full(len(options), float(types.index(kind)) if kind in types else -1.0),
            np.arange(len(options)),
            np.array([len(option) for option in options]),
            np.array([option in words for option in options]),
            numbers,
            *map(_rank, (numbers, to_question, to_others)),
            to_question,
            to_others,
            *np.tile(asked @ space[0], (len(options), 1)).T,
            *(offered @ space[1]).T,
        ]
        rows.append(np.array(own, float).T)
    return np.vstack(rows)


def _rank(values: Array) -> Array:
    return (values[:, None] > values[None, :]).sum(axis=1).astype(float)


def _inner_frequencies(train: pd.DataFrame, vectors: Vectors) -> Array:
    """Return the frequencies of train's options, each fold of images counted in the others.

    Counted in all of train, a question would count its answer.
    """
    from sklearn.model_selection import GroupKFold

    folds = min(_INNER_FOLDS, train["image_id"].nunique())
    parts = GroupKFold(folds).split(train, groups=train["image_id"]) if folds > 1 else []
    found: dict[int, Array] = {}
    for others, held in parts:
        rows = _frequencies(train.iloc[others], train.iloc[held], vectors)
        ends = np.cumsum([len(options) for options in train["options"].iloc[held]])
        found |= dict(zip(held.tolist(), np.split(rows, ends[:-1]), strict=True))
    unknown = [np.zeros((len(options), _FREQUENCIES)) for options in train["options"]]
    return np.vstack([found.get(place, rows) for place, rows in enumerate(unknown)])


def _frequencies(known: pd.DataFrame, asked: pd.DataFrame, vectors: Vectors) -> Array:
    """Return how often each option of `asked` is right in `known`, of shape (options, 6).

    Within its type: as a share of the times it is offered, and of all answers. Among the nearest questions: the share,
    weighted by similarity, that it answers. Then each of the three minus its mean over the question's options.
    """
    offered = Counter((kind, o) for kind, os in zip(known["question_type"], known["options"], strict=True) for o in os)
    right = Counter(zip(known["question_type"], known["answer"], strict=True))
    answers = Counter(known["question_type"])
    near: dict[int, dict[str, float]] = {}
    for kind, places in _places_by_type(asked).items():
        same = known[known["question_type"] == kind]
        if same.empty:
            continue
        golds = same["answer"].to_numpy(str)
        nearest, weights = _nearest(same["question"], asked["question"].iloc[places], vectors)
        for place, indices, shares in zip(places.tolist(), nearest, weights, strict=True):
            near[place] = defaultdict(float)
            for index, share in zip(indices, shares, strict=True):
                near[place][golds[index]] += share
    rows = []
    for place, (kind, options) in enumerate(zip(asked["question_type"], asked["options"], strict=True)):
        votes = near.get(place, {})
        found = np.array(
            [
                [
                    (right[kind, option] + 0.5) / (offered[kind, option] + 2),
                    right[kind, option] / max(answers[kind], 1),
                    votes.get(option, 0.0),
                ]
                for option in options
            ]
        )
        rows.append(np.hstack([found, found - found.mean(axis=0)]))
    return np.vstack(rows)


def _nearest(known: pd.Series, asked: pd.Series, vectors: Vectors) -> tuple[NDArray[np.intp], Array]:
    """Return the places in `known` of the questions nearest to each of `asked`, and their weights, which sum to 1."""
    distinct, places = np.unique(asked.to_numpy(str), return_inverse=True)
    space = _stack(known, vectors).T.astype(np.float32)
    count = min(NEIGHBORS, len(known))
    nearest, weights = [], []
    for start in range(0, len(distinct), _ROWS):
        alike = _stack(distinct[start : start + _ROWS], vectors).astype(np.float32) @ space
        best = np.argpartition(-alike, count - 1, axis=1)[:, :count]
        nearest.append(best)
        weights.append(np.exp(_SHARPNESS * (np.take_along_axis(alike, best, axis=1).astype(float) - 1)))
    found = np.vstack(weights)
    found /= found.sum(axis=1, keepdims=True)
    return np.vstack(nearest)[places], found[places]
