"""Where the stages keep what they hand to each other."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from abo_vqa.errors import InputError

SAMPLE = Path("tables/sample.parquet")
SPLITS = Path("tables/splits")
PREDICTIONS = Path("tables/predictions")
ADAPTERS = Path("models/adapters")
CURVES = Path("reports/curves")
RUNS = Path("reports/runs")


def read_questions(split: str) -> list[dict[str, Any]]:
    """Return the questions of one split as plain rows, in the file's order."""
    path = SPLITS / f"{split}.parquet"
    return _read(path).to_dict("records")


def read_image_bytes(image_ids: Iterable[str]) -> dict[str, bytes]:
    """Return the encoded bytes of the given images of the sample; raises InputError naming a missing one."""
    wanted = set(image_ids)
    table = _read(SAMPLE, columns=["image_id", "image"])
    images = {row.image_id: row.image["bytes"] for row in table.itertuples() if row.image_id in wanted}
    if missing := sorted(wanted - images.keys()):
        raise InputError(f"{SAMPLE}: {len(missing)} images are missing, {missing[0]} first; run `dvc repro`")
    return images


def _read(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{path}: not found; run `dvc repro`")
    return pd.read_parquet(path, columns=columns)
