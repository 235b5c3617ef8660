"""Confusion counts: gold versus predicted answers."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

OTHER = "other"
_MOST_ANSWERS = 10  # per confusion matrix; rarer ones share a row


def confusion(asked: pd.DataFrame, answers: Sequence[str]) -> pd.DataFrame:
    """Return counts of gold (rows) by predicted answers (columns); any that is not in `answers` is `other`.

    asked: predictions under one condition on questions of one type.
    """
    names = [*answers, OTHER]

    def named(words: "pd.Series[str]") -> Any:
        return pd.Categorical(words.where(words.isin(answers), OTHER), names)

    gold, given = named(asked["gold"]), named(asked["prediction"])
    counts = pd.crosstab(gold, given, dropna=False).reindex(index=names, columns=names, fill_value=0)
    return counts.drop(index=[OTHER] if not counts.loc[OTHER].any() else [])


def confusable(asked: pd.DataFrame, kinds: int = 2) -> dict[str, list[str]]:
    """Return the question types with the most questions with over two answers, each with its most common answers."""
    found: dict[str, list[str]] = {}
    for kind in asked["question_type"].value_counts().sort_index().sort_values(ascending=False, kind="stable").index:
        answers = asked.loc[asked["question_type"] == kind, "gold"].value_counts()
        if len(answers) > 2 and len(found) < kinds:
            commonest = answers.sort_index().sort_values(ascending=False, kind="stable").index[:_MOST_ANSWERS]
            found[str(kind)] = sorted(map(str, commonest), key=lambda word: (len(word) if word.isdigit() else 0, word))
    return {kind: found[kind] for kind in sorted(found)}
