"""The audit: scores of text-only baselines on every split, the bar that a gain has to clear.

Under `options` they read the question and its options, under `matched` the matched options instead
(splits/matching.py), under `open` the question only.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from abo_vqa.audit.text_only import WITH_OPTIONS, WITHOUT_OPTIONS, Predictor, Scores
from abo_vqa.audit.text_only_embeddings import Vectors
from abo_vqa.common.errors import InputError
from abo_vqa.common.schema import CROSS_FITTED, MATCHED, OPEN, OPTIONS, REFERENCES
from abo_vqa.statistics.intervals import cluster_interval

PREDICTORS: dict[str, Mapping[str, Predictor]] = {OPTIONS: WITH_OPTIONS, MATCHED: WITH_OPTIONS, OPEN: WITHOUT_OPTIONS}


def audit(
    train: pd.DataFrame,
    others: Mapping[str, pd.DataFrame],
    vectors: Vectors,
    folds: int,
    confidence: float,
) -> dict[str, Any]:
    """Return {part: {condition: {predictor: {"total": row, "by_type": {type: row}}}}}; a row is n, accuracy, low, high.

    train and others, by name: questions with image_id, question_type, question, options, answer and, for the condition
    `matched`, matched_options (null if the question is not kept). Baselines are fitted on train and scored on each
    other split. "cross_fitted" is their score on train, each fold of images scored by a fit on the others. vectors: the
    embedding of every question and option. Intervals allow for questions of an
    image_group (without this column: of an image) going wrong together; references are exact. `matched` is left out if
    it keeps no question.
    Raises InputError if a split is empty, or if train has fewer images than folds.
    """
    report: dict[str, Any] = {CROSS_FITTED: {}} | {name: {} for name in others}
    for condition, predictors in PREDICTORS.items():
        asked = {name: _under(condition, table, name) for name, table in ({"train": train} | dict(others)).items()}
        known = asked.pop("train")
        if known.empty:
            continue
        scores = {CROSS_FITTED: (known, _cross_fitted(predictors, known, vectors, folds, condition))}
        for name, table in asked.items():
            if not table.empty:
                scores[name] = table, {key: predict(known, table, vectors) for key, predict in predictors.items()}
        for part, (table, found) in scores.items():
            report[part][condition] = {
                name: _rows(table, values, name in REFERENCES, confidence) for name, values in found.items()
            }
    return report


def texts_of(*tables: pd.DataFrame) -> set[str]:
    """Return the texts to embed: every question and option of the tables, including matched options."""
    columns = ["options", "matched_options"]
    lists = (row for table in tables for name in columns if name in table for row in table[name].dropna())
    return {text for row in lists for text in row} | {text for table in tables for text in table["question"]}


def _under(condition: str, table: pd.DataFrame, split: str) -> pd.DataFrame:
    if table.empty:
        raise InputError(f"the {split} split has no questions; raise sample.products or change split")
    if condition == MATCHED:
        if "matched_options" not in table:
            return table.iloc[:0]
        table = table[table["matched_options"].notna()]
        table = table.assign(options=table["matched_options"])
    # Parquet gives arrays, which have no index().
    return table.assign(options=table["options"].map(list)).reset_index(drop=True)


def _cross_fitted(
    predictors: Mapping[str, Predictor], table: pd.DataFrame, vectors: Vectors, folds: int, condition: str
) -> dict[str, Scores]:
    from sklearn.model_selection import GroupKFold

    images = table["image_id"].nunique()
    if images < folds:
        raise InputError(
            f"audit.folds: {folds} folds need as many images in the train split, which has {images} under {condition}"
        )
    scores = {name: np.zeros(len(table)) for name in predictors}
    for fitting, held in GroupKFold(folds).split(table, groups=table["image_id"]):
        for name, predict in predictors.items():
            scores[name][held] = predict(table.iloc[fitting], table.iloc[held], vectors)
    return scores


def _rows(table: pd.DataFrame, values: Scores, exact: bool, confidence: float) -> dict[str, Any]:
    cluster = "image_group" if "image_group" in table else "image_id"

    def row(part: pd.DataFrame) -> dict[str, float]:
        found = cluster_interval(part["score"], part[cluster].to_list(), confidence)
        limits = (found.estimate, found.estimate) if exact else (found.low, found.high)
        named = {"accuracy": found.estimate, "low": limits[0], "high": limits[1]}
        return {"n": found.n, **{key: float(f"{value:.6g}") for key, value in named.items()}}

    scored = table.assign(score=values)
    return {
        "total": row(scored),
        "by_type": {str(kind): row(part) for kind, part in scored.groupby("question_type")},
    }
