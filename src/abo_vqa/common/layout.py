"""Where the stages keep what they hand to each other, and how the model stages read it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from abo_vqa.common.errors import InputError
from abo_vqa.common.storage import read_table

SAMPLE = Path("tables/sample.parquet")
RAW = Path("tables/raw.jsonl")
QUESTIONS = Path("tables/questions.parquet")
QUARANTINE = Path("tables/quarantine.parquet")
SPLITS = Path("tables/splits")
PREDICTIONS = Path("tables/predictions")
ADAPTERS = Path("models/adapters")
CHECKPOINTS = Path("models/checkpoints")
CURVES = Path("reports/curves")
TRAINING = Path("reports/training")
RUNS = Path("reports/runs")
AUDIT = Path("reports/audit.json")
COMPARISON = Path("reports/comparison.json")


def split_table(split: str) -> Path:
    """Return the table of one split."""
    return SPLITS / f"{split}.parquet"


def feature_folder() -> Path:
    """Return where vision features are kept: with the project, so that experiments in other folders share them."""
    from abo_vqa.common.project import project_root

    return project_root() / "models/features"


def read_questions(split: str) -> list[dict[str, Any]]:
    """Return the questions of one split in the file's order; raises InputError if there is none."""
    path = split_table(split)
    rows = read_table(path, "split")
    if not rows:
        raise InputError(f"{path}: no question in it; raise sample.products or the split's share")
    return rows


def read_image_bytes(image_ids: Iterable[str]) -> dict[str, bytes]:
    """Return the encoded bytes of the given images of the sample; raises InputError naming a missing one."""
    wanted = set(image_ids)
    table = read_table(SAMPLE, "sample", ["image_id", "image"])
    images = {row["image_id"]: row["image"]["bytes"] for row in table if row["image_id"] in wanted}
    if missing := sorted(wanted - images.keys()):
        raise InputError(f"{SAMPLE}: {len(missing)} images are missing, {missing[0]} first; run `dvc repro`")
    return images


def with_options(rows: Sequence[dict[str, Any]], strategy: Literal["given", "matched"]) -> list[dict[str, Any]]:
    """Return the questions with the options of one strategy in `options`; for `matched`, the kept questions only."""
    if strategy == "given":
        return list(rows)
    return [_as_matched(row) for row in rows if row["matched_options"] is not None]


def _as_matched(row: dict[str, Any]) -> dict[str, Any]:
    options = list(row["matched_options"])
    return row | {"options": options, "answer_index": options.index(row["answer"])}


PRE_CLIP, POST_CLIP, ACCURACY = "grad_norm/pre_clip", "grad_norm/post_clip", "validation/accuracy"
