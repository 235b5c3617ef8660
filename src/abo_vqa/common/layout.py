"""Paths of the files that stages exchange, and readers for the model stages."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from abo_vqa.common.errors import InputError
from abo_vqa.common.project import project_root
from abo_vqa.common.storage import read_table

OUTPUTS = (Path("tables"), Path("reports"), Path("models/adapters"), Path("models/features"))
CHECKED = Path("tables/parameters.txt")
SAMPLE = Path("tables/sample.parquet")
RAW = Path("tables/raw.jsonl")
QUESTIONS = Path("tables/questions.parquet")
QUARANTINE = Path("tables/quarantine.parquet")
SPLITS = Path("tables/splits")
ANSWERS = Path("tables/answers")
PREDICTIONS = Path("tables/predictions")
ADAPTERS = Path("models/adapters")
CHECKPOINTS = Path("models/checkpoints")
CURVES = Path("reports/curves")
TRAINING = Path("reports/training")
AUDIT = Path("reports/audit.json")
SCORES = Path("reports/scores.json")
COMPARISON = Path("reports/comparison.json")
# Under the project root, so that experiments in temporary folders reuse earlier work.
FEATURES = Path("models/features")
JOURNALS = Path("tables/asking")
# Columns of reports/curves/MODEL.csv beside step, loss and learning_rate.
PRE_CLIP, POST_CLIP, ACCURACY = "grad_norm/pre_clip", "grad_norm/post_clip", "validation/accuracy"
SKIPPED = "skipped"  # 1 where a loss scaler skipped the step; only there under float16
RANKED = "ranked"  # column of tables/predictions: whether the most likely option is right


def split_table(split: str) -> Path:
    """Return the table of one split."""
    return SPLITS / f"{split}.parquet"


def adapter_folder(arm: str) -> Path:
    """Return the PEFT folder of a trained model, such as standard-1."""
    return ADAPTERS / arm


def answers_table(model: str) -> Path:
    """Return the table of a model's answers."""
    return ANSWERS / f"{model}.parquet"


def predictions_table(model: str) -> Path:
    """Return the table of a model's scored answers."""
    return PREDICTIONS / f"{model}.parquet"


def feature_folder() -> Path:
    """Return the folder of cached vision features."""
    return project_root() / FEATURES


def journal_folder() -> Path:
    """Return the folder of journals from which a killed evaluation resumes."""
    return project_root() / JOURNALS


def read_questions(split: str) -> list[dict[str, Any]]:
    """Return the questions of one split in file order; raises InputError if it is empty."""
    path = split_table(split)
    rows = read_table(path, "split")
    if not rows:
        raise InputError(f"{path}: no questions; raise sample.products or the split's share")
    return rows


def read_image_bytes(image_ids: Iterable[str]) -> dict[str, bytes]:
    """Return the encoded bytes of the given images of the sample; raises InputError naming a missing one."""
    wanted = set(image_ids)
    table = read_table(SAMPLE, "sample", ["image_id", "image"])
    images = {row["image_id"]: row["image"]["bytes"] for row in table if row["image_id"] in wanted}
    if missing := sorted(wanted - images.keys()):
        raise InputError(f"{SAMPLE}: {len(missing)} images are missing, such as {missing[0]}; run `dvc repro`")
    return images


def with_options(rows: Sequence[dict[str, Any]], strategy: Literal["given", "matched"]) -> list[dict[str, Any]]:
    """Return the questions with one strategy's options in `options`; under `matched`, only the kept questions."""
    if strategy == "given":
        return list(rows)
    return [_as_matched(row) for row in rows if row["matched_options"] is not None]


def _as_matched(row: dict[str, Any]) -> dict[str, Any]:
    options = list(row["matched_options"])
    return row | {"options": options, "answer_index": options.index(row["answer"])}
