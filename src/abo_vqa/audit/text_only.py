"""Text-only baselines: fitted on one table of questions, scored on another, without the images.

Tables have image_id, question_type, question, options and answer. A predictor returns, for each question of the second
table, 1 if it is right, 0 if it is wrong, and the probability of being right if it guesses.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from abo_vqa.audit.text_only_embeddings import Vectors, embedding_neighbors, embedding_trees, score_picks
from abo_vqa.common.schema import CEILING, CHANCE, guessed

Scores = NDArray[np.float64]
Predictor = Callable[[pd.DataFrame, pd.DataFrame, Vectors], Scores]


def first_option(train: pd.DataFrame, test: pd.DataFrame, _: Vectors) -> Scores:
    """Always pick the first option, as given."""
    return score_picks(test, [0] * len(test))


def position_prior(train: pd.DataFrame, test: pd.DataFrame, _: Vectors) -> Scores:
    """Pick the most frequent position of the answer in train."""
    answered = [row for row in _questions(train) if row.answer in row.options]
    counts = Counter(row.options.index(row.answer) for row in answered)
    position = min(counts, key=lambda place: (-counts[place], place), default=0)
    return score_picks(test, [min(position, len(row.options) - 1) for row in _questions(test)])


def frequent_option(train: pd.DataFrame, test: pd.DataFrame, _: Vectors) -> Scores:
    """Pick the option that is most often the answer in train, among questions of the same type."""
    counts = Counter(zip(train["question_type"], train["answer"], strict=True))
    picks = [int(np.argmax([counts[row.question_type, option] for option in row.options])) for row in _questions(test)]
    return score_picks(test, picks)


def text_classifier(train: pd.DataFrame, test: pd.DataFrame, _: Vectors) -> Scores:
    """Pick the option that a logistic regression on words of question and options scores highest.

    Each option is one row, right or wrong; its features are its words, its position, the other options, and the option
    crossed with the type, the words and the word pairs of the question.
    """
    return _linear(train, test, _asked_words)


def options_classifier(train: pd.DataFrame, test: pd.DataFrame, _: Vectors) -> Scores:
    """Pick the option that a logistic regression on the options alone scores highest, without question or type."""
    return _linear(train, test, lambda row: [])


def frequent_answer(train: pd.DataFrame, test: pd.DataFrame, _: Vectors) -> Scores:
    """Answer, without options, as most often in train to the same question, else to its type."""
    exact = _modes(train["question"], train["answer"])
    by_type = _modes(train["question_type"], train["answer"])
    answers = [exact.get(row.question, by_type.get(row.question_type)) for row in _questions(test)]
    return np.array([answer == row.answer for answer, row in zip(answers, _questions(test), strict=True)], float)


def open_classifier(train: pd.DataFrame, test: pd.DataFrame, _: Vectors) -> Scores:
    """Answer, without options, by a linear classifier on the question's words (scikit-learn).

    Ridge, because a logistic regression takes thirty times as long over hundreds of answers and scores the same.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import RidgeClassifier

    vectorizer = CountVectorizer(ngram_range=(1, 2), binary=True, min_df=2, token_pattern=r"\S+")
    fitted = vectorizer.fit_transform(_typed_questions(train))
    model = RidgeClassifier(alpha=10, solver="lsqr", tol=1e-2).fit(fitted, train["answer"])
    answers = model.predict(vectorizer.transform(_typed_questions(test)))
    return (answers == test["answer"].to_numpy()).astype(float)


def chance(train: pd.DataFrame, test: pd.DataFrame, _: Vectors) -> Scores:
    """Guess one of the live options: the probability of being right is 1 / their number."""
    return np.array([guessed(row.question_type, len(row.options)) for row in _questions(test)])


def ceiling(train: pd.DataFrame, test: pd.DataFrame, _: Vectors) -> Scores:
    """Pick the right option if it is among the options."""
    return np.array([row.answer in row.options for row in _questions(test)], float)


WITH_OPTIONS: Mapping[str, Predictor] = {
    "first option": first_option,
    "position prior": position_prior,
    "frequent option": frequent_option,
    "options classifier": options_classifier,
    "text classifier": text_classifier,
    "embedding trees": embedding_trees,
    CHANCE: chance,
    CEILING: ceiling,
}
WITHOUT_OPTIONS: Mapping[str, Predictor] = {
    "frequent answer": frequent_answer,
    "text classifier": open_classifier,
    "embedding neighbours": embedding_neighbors,
}


def _linear(train: pd.DataFrame, test: pd.DataFrame, asked: Callable[[Any], list[str]]) -> Scores:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = CountVectorizer(analyzer=list, binary=True, min_df=2)
    fitted = vectorizer.fit_transform(_option_features(train, asked))
    right = [option == row.answer for row in _questions(train) for option in row.options]
    # The dual is ten times faster here. It visits coordinates at random, hence the seed; the optimum is unique.
    model = LogisticRegression(C=0.3, solver="liblinear", dual=True, max_iter=1000, random_state=0)
    model.fit(fitted, right)
    scores = model.decision_function(vectorizer.transform(_option_features(test, asked)))
    ends = np.cumsum([len(row.options) for row in _questions(test)])
    return score_picks(test, [int(np.argmax(part)) for part in np.split(scores, ends[:-1])])


def _questions(table: pd.DataFrame) -> Iterable[Any]:
    return table[["question_type", "question", "options", "answer"]].itertuples(index=False)


def _modes(keys: pd.Series, answers: pd.Series) -> dict[str, str]:
    counts = Counter(zip(keys, answers, strict=True))
    ordered = sorted(counts.items(), key=lambda item: (item[1], item[0]))
    return {key: answer for (key, answer), _ in ordered}


def _typed_questions(table: pd.DataFrame) -> list[str]:
    kinds = table["question_type"]
    return [f"type={kind} {question}" for kind, question in zip(kinds, table["question"], strict=True)]


def _asked_words(row: Any) -> list[str]:
    words = row.question.lower().strip(" ?.").split()
    return [row.question_type, *words, *map("_".join, pairwise(words))]


def _option_features(table: pd.DataFrame, asked: Callable[[Any], list[str]]) -> Iterator[list[str]]:
    for row in _questions(table):
        words = asked(row)
        for place, option in enumerate(row.options):
            others = [f"{option}>{other}" for other in row.options if other != option]
            own = [f"place={place}", option, *option.split()]
            yield [*own, *others, *(f"{word}*{option}" for word in words)]
