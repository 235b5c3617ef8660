"""What recorded questions give away without the image: as published, after shuffling, and under matched options.

    python benchmarks/recorded_audit.py ../shared/abo/qa/llava_v1.6_mistral_7b_raw.jsonl.gz --seeds 3

No image is needed: an image path stands for its product and its image. Splits are those of questions/split.py under the
shares of params.yaml; every baseline is fitted on the train split and scored on the test split.
"""

import argparse
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from abo_vqa.audit.audit import texts_of
from abo_vqa.audit.text_only import WITH_OPTIONS, first_option
from abo_vqa.audit.text_only_embeddings import Vectors, embed
from abo_vqa.common.layout import with_options
from abo_vqa.common.params import Params, read_params
from abo_vqa.common.schema import COLOR, COUNTING, MATERIAL, REFERENCES, SHAPE, SPLITS, TEST, TRAIN, YES_NO
from abo_vqa.generators.recorded import read_recorded
from abo_vqa.questions.schema import Question
from abo_vqa.questions.validate import curate
from abo_vqa.splits.assign import assign_splits
from abo_vqa.splits.matching import Matching, match_questions
from abo_vqa.statistics.display import markdown_table
from abo_vqa.statistics.intervals import cluster_interval

FOUR = (COLOR, MATERIAL, SHAPE, COUNTING)
GROUPS: Mapping[str, tuple[str, ...]] = {"the four kinds": FOUR, **{kind: (kind,) for kind in (*FOUR, YES_NO)}}
BARS = {"the four kinds": 0.33, YES_NO: 0.55}
LEAST_KEPT = 0.45


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="recorded outputs, as generate.recorded takes them")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, from the one of params.yaml on")
    arguments = parser.parse_args()
    params = read_params()
    vectors: dict[str, Any] = {}
    best = []
    for seed in range(params.seed, params.seed + arguments.seeds):
        best.append(report(arguments.file, params, seed, vectors))
    print("\n# Over the seeds")
    for name in best[0]:
        values = [found[name] for found in best]
        print(f"{name}: {', '.join(f'{100 * value:.1f} %' for value in values)}; mean {100 * np.mean(values):.1f} %")


def report(path: Path, params: Params, seed: int, vectors: dict[str, Any]) -> dict[str, float]:
    """Print the audit of one seed; return what the bars are about."""
    outputs = list(read_recorded(path))
    curated = curate(outputs, params.validate_, seed)
    print(f"\n# Seed {seed}: {len(outputs)} outputs, {len(curated.as_given)} questions, {len(curated.clean)} clean\n")
    splits = assign_splits({output.image_path: output.image_path for output in outputs}, params.split, seed)
    given = _table(curated.as_given, splits)
    print(f"as published, always first: {_score(given, _always_first(given), params)}")
    print(f"  where there is an option: {_score_options(given, params)}")
    clean = _table(curated.clean, splits)
    print(f"shuffled, always first:     {_score(clean, first_option(clean, clean, {}), params)}\n")

    rows = {split: clean[clean["split"] == split].to_dict("records") for split in SPLITS}
    started = time.process_time()
    matching = match_questions(rows, params.matching, params.validate_.options, seed)
    print(f"matching took {time.process_time() - started:.0f} s of one core\n")
    rows = {split: [row | matching.columns(row) for row in part] for split, part in rows.items()}
    tables = {split: pd.DataFrame(part) for split, part in rows.items()}
    vectors |= embed(texts_of(tables[TRAIN], tables[TEST]) - vectors.keys(), params.audit.encoder)
    _predictors("shuffled", tables[TRAIN], tables[TEST], vectors, params)
    kept = {split: pd.DataFrame(with_options(part, "matched")) for split, part in rows.items()}
    found = _predictors("matched", kept[TRAIN], kept[TEST], vectors, params)
    shares = _kept(matching)
    return found | shares


def _always_first(table: pd.DataFrame) -> Any:
    pairs = zip(table["options"], table["answer"], strict=True)
    return np.array([bool(options) and options[0] == answer for options, answer in pairs], float)


def _score_options(table: pd.DataFrame, params: Params) -> str:
    there = table[table["options"].map(len) > 0]
    return _score(there, _always_first(there), params)


def _table(questions: Iterable[Question], splits: Mapping[str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "qa_id": question.qa_id,
            "split": splits[question.product_id],
            "image_id": question.image_path,
            "image_group": question.image_path,
            "question_type": question.question_type,
            "question": question.question,
            "options": list(question.options),
            "answer": question.answer,
        }
        for question in questions
    )


def _predictors(
    name: str, train: pd.DataFrame, test: pd.DataFrame, vectors: Vectors, params: Params
) -> dict[str, float]:
    """Print the score of every baseline by kind; return the best for each bar."""
    lines = []
    values: dict[str, dict[str, float]] = {}
    for predictor, predict in WITH_OPTIONS.items():
        if predictor in REFERENCES:
            continue
        scores = predict(train, test, vectors)
        values[predictor] = {}
        cells = []
        for group, kinds in GROUPS.items():
            asked = test["question_type"].isin(kinds).to_numpy()
            values[predictor][group] = float(scores[asked].mean())
            cells.append(_score(test[asked], scores[asked], params))
        lines.append([predictor, *cells])
    counts = [str(int(test["question_type"].isin(kinds).sum())) for kinds in GROUPS.values()]
    print(markdown_table([name, *GROUPS], [*lines, ["questions", *counts]]))
    best = {}
    for group, bar in BARS.items():
        predictor = max(values, key=lambda one: values[one][group])
        best[f"{name}, best blind on {group} (bar {100 * bar:.0f} %)"] = values[predictor][group]
        if name == "matched":
            met = "met" if values[predictor][group] <= bar else "MISSED"
            print(f"best on {group}: {predictor}, {100 * values[predictor][group]:.1f} %; bar {100 * bar:.0f} %: {met}")
    print()
    return best


def _kept(matching: Matching) -> dict[str, float]:
    rows, shares = [], {}
    for kind in sorted(matching.report[TRAIN]):
        parts = [matching.report[split][kind] for split in SPLITS]
        asked, kept = sum(part["questions"] for part in parts), sum(part["kept"] for part in parts)
        split_shares = [f"{100 * part['share']:.1f} %" for part in parts]
        rows.append([kind, parts[0]["strategy"], str(asked), f"{100 * kept / asked:.1f} %", *split_shares])
        if kind in FOUR:
            shares[f"kept of {kind} (bar {100 * LEAST_KEPT:.0f} %)"] = kept / asked
    print(markdown_table(["kept", "strategy", "questions", "all", *SPLITS], rows))
    return shares


def _score(table: pd.DataFrame, scores: Any, params: Params) -> str:
    found = cluster_interval(scores, table["image_id"].to_list(), params.compare.confidence)
    return f"{100 * found.estimate:.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})"


if __name__ == "__main__":
    main()
