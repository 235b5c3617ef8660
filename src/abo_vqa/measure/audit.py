"""What predictors that never see the image score: the bar a gain has to clear.

Under `options` they know question and options, under `open` the question only. All are fitted on one table and
scored on another.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abo_vqa.errors import InputError
from abo_vqa.measure.intervals import cluster_interval
from abo_vqa.seeds import derive_seed

CHANCE, CEILING = "chance", "ceiling"
# Not predictors: what guessing gives, and what is attainable.
REFERENCES = (CHANCE, CEILING)

Scores = NDArray[np.float64]
Predictor = Callable[[pd.DataFrame, pd.DataFrame], Scores]


def audit(
    train: pd.DataFrame, test: pd.DataFrame, folds: int, confidence: float, resamples: int, seed: int
) -> dict[str, Any]:
    """Return, per condition and predictor, accuracy with intervals over images, in total and per question type.

    train, test: questions with qa_id, image_id, question_type, question, options, answer. Under "test"
    everything is fitted on train and scored on test; under "cross_fitted" it is scored on train, on each fold of
    images by what was fitted on the others. Raises InputError if there are fewer images than folds.
    """
    train, test = _checked(train, "train"), _checked(test, "test")
    parts = {"test": (test, _scores(train, test)), "cross_fitted": (train, _cross_fitted(train, folds))}
    return {
        part: {
            condition: {
                name: _rows(table, values, confidence, resamples, derive_seed(seed, "audit", part, condition, name))
                for name, values in by_name.items()
            }
            for condition, by_name in scores.items()
        }
        for part, (table, scores) in parts.items()
    }


def best_blind(report: Mapping[str, Any], condition: str) -> str:
    """Return the name of the predictor without an image that scores highest on the test split."""
    rows = {name: row["total"] for name, row in report["test"][condition].items() if name not in REFERENCES}
    return max(rows, key=lambda name: (rows[name]["accuracy"], name))


def first_option(train: pd.DataFrame, test: pd.DataFrame) -> Scores:
    """Always pick the first option, as given."""
    return _score_picks(test, [0] * len(test))


def position_prior(train: pd.DataFrame, test: pd.DataFrame) -> Scores:
    """Pick the position at which the answer stood most often in train."""
    answered = [row for row in _questions(train) if row.answer in row.options]
    counts = Counter(row.options.index(row.answer) for row in answered)
    position = min(counts, key=lambda place: (-counts[place], place), default=0)
    return _score_picks(test, [min(position, len(row.options) - 1) for row in _questions(test)])


def frequent_option(train: pd.DataFrame, test: pd.DataFrame) -> Scores:
    """Pick the option that was the answer most often in train, among questions of the same type."""
    counts = Counter(zip(train["question_type"], train["answer"], strict=True))
    picks = [_argmax([counts[row.question_type, option] for option in row.options]) for row in _questions(test)]
    return _score_picks(test, picks)


def text_classifier(train: pd.DataFrame, test: pd.DataFrame) -> Scores:
    """Pick the option that a logistic regression on words of question and option likes best (scikit-learn).

    Each option is one row, right or wrong; its features are its own words, its position, the other options,
    and each crossed with the type, the words and the word pairs of the question.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = CountVectorizer(analyzer=list, binary=True, min_df=2)
    fitted = vectorizer.fit_transform(_option_features(train))
    right = [option == row.answer for row in _questions(train) for option in row.options]
    # The dual is ten times faster here. Its coordinates are visited at random, hence the seed; the optimum is one.
    model = LogisticRegression(C=0.3, solver="liblinear", dual=True, max_iter=1000, random_state=0)
    model.fit(fitted, right)
    liking = model.decision_function(vectorizer.transform(_option_features(test)))
    sizes = [len(row.options) for row in _questions(test)]
    picks = [_argmax(part) for part in np.split(liking, np.cumsum(sizes)[:-1])]
    return _score_picks(test, picks)


def frequent_answer(train: pd.DataFrame, test: pd.DataFrame) -> Scores:
    """Say, without options, the most frequent answer in train to the same question, else to its type."""
    exact = _modes(train["question"], train["answer"])
    by_type = _modes(train["question_type"], train["answer"])
    said = [exact.get(row.question, by_type.get(row.question_type)) for row in _questions(test)]
    return np.array([answer == row.answer for answer, row in zip(said, _questions(test), strict=True)], float)


def open_classifier(train: pd.DataFrame, test: pd.DataFrame) -> Scores:
    """Say, without options, the answer that a linear classifier on the question's words expects (scikit-learn).

    Ridge, because a logistic regression takes thirty times as long over hundreds of answers and scores the same.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import RidgeClassifier

    vectorizer = CountVectorizer(ngram_range=(1, 2), binary=True, min_df=2, token_pattern=r"\S+")
    fitted = vectorizer.fit_transform(_typed_questions(train))
    model = RidgeClassifier(alpha=10, solver="lsqr", tol=1e-2).fit(fitted, train["answer"])
    said = model.predict(vectorizer.transform(_typed_questions(test)))
    return (said == test["answer"].to_numpy()).astype(float)


def chance(train: pd.DataFrame, test: pd.DataFrame) -> Scores:
    """Pick any option: right once in as many times as there are options."""
    return np.array([1 / len(row.options) for row in _questions(test)])


def ceiling(train: pd.DataFrame, test: pd.DataFrame) -> Scores:
    """Pick the right option wherever there is one."""
    return np.array([row.answer in row.options for row in _questions(test)], float)


PREDICTORS: dict[str, dict[str, Predictor]] = {
    "options": {
        "first option": first_option,
        "position prior": position_prior,
        "frequent option": frequent_option,
        "text classifier": text_classifier,
        CHANCE: chance,
        CEILING: ceiling,
    },
    "open": {"frequent answer": frequent_answer, "text classifier": open_classifier},
}


def _checked(table: pd.DataFrame, split: str) -> pd.DataFrame:
    if table.empty:
        raise InputError(f"the {split} split holds no question; raise sample.products or change split")
    # Parquet gives arrays, which have no index().
    return table.assign(options=table["options"].map(list))


def _scores(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, dict[str, Scores]]:
    return {
        condition: {name: predict(train, test) for name, predict in predictors.items()}
        for condition, predictors in PREDICTORS.items()
    }


def _cross_fitted(table: pd.DataFrame, folds: int) -> dict[str, dict[str, Scores]]:
    from sklearn.model_selection import GroupKFold

    images = table["image_id"].nunique()
    if images < folds:
        raise InputError(f"audit.folds: {folds} folds need as many images in the train split, which has {images}")
    scores = {condition: {name: np.zeros(len(table)) for name in names} for condition, names in PREDICTORS.items()}
    for fitting, held in GroupKFold(folds).split(table, groups=table["image_id"]):
        for condition, by_name in _scores(table.iloc[fitting], table.iloc[held]).items():
            for name, values in by_name.items():
                scores[condition][name][held] = values
    return scores


def _rows(table: pd.DataFrame, values: Scores, confidence: float, resamples: int, seed: int) -> dict[str, Any]:
    def row(part: pd.DataFrame) -> dict[str, float]:
        found = cluster_interval(part["score"], part["image_id"].to_list(), confidence, resamples, seed)
        named = {"accuracy": found.estimate, "low": found.low, "high": found.high}
        return {"n": found.n, **{key: float(f"{value:.6g}") for key, value in named.items()}}

    scored = table.assign(score=values)
    return {
        "total": row(scored),
        "by_type": {str(kind): row(part) for kind, part in scored.groupby("question_type")},
    }


def _questions(table: pd.DataFrame) -> Iterable[Any]:
    return table[["question_type", "question", "options", "answer"]].itertuples(index=False)


def _score_picks(table: pd.DataFrame, picks: Iterable[int]) -> Scores:
    rows = zip(_questions(table), picks, strict=True)
    return np.array([row.options[pick] == row.answer for row, pick in rows], float)


def _argmax(values: Any) -> int:
    return int(np.argmax(values))


def _modes(keys: pd.Series, answers: pd.Series) -> dict[str, str]:
    counts = Counter(zip(keys, answers, strict=True))
    ordered = sorted(counts.items(), key=lambda item: (item[1], item[0]))
    return {key: answer for (key, answer), _ in ordered}


def _typed_questions(table: pd.DataFrame) -> list[str]:
    kinds = table["question_type"]
    return [f"type={kind} {question}" for kind, question in zip(kinds, table["question"], strict=True)]


def _option_features(table: pd.DataFrame) -> Iterable[list[str]]:
    for row in _questions(table):
        words = row.question.lower().strip(" ?.").split()
        asked = [row.question_type, *words, *map("_".join, pairwise(words))]
        for place, option in enumerate(row.options):
            others = [f"{option}>{other}" for other in row.options if other != option]
            own = [f"place={place}", option, *option.split()]
            yield [*own, *others, *(f"{ask}*{option}" for ask in asked)]
