"""Stage compare: every model's predictions and the audit in, the comparison table out."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from abo_vqa.errors import InputError
from abo_vqa.params import ConditionParams, read_params
from abo_vqa.stages import run_stage
from abo_vqa.stages.files import AUDIT, PREDICTIONS, split_table

if TYPE_CHECKING:
    import pandas as pd

COMPARISON = Path("reports/comparison.json")
TABLE = Path("reports/comparison.md")
TEST = split_table("test")
METRICS = Path("reports/metrics.json")


def main() -> None:
    """Compare the tested models; write reports/comparison.json, comparison.md and metrics.json."""
    params = read_params()
    # Imported here: a wrong parameter is reported before seconds of importing.
    from abo_vqa.catalog.tables import read_table, replacing, require, write_json
    from abo_vqa.measure.tables import BASE, compare, flat_metrics, main_table, planned_pairs, render

    models = sorted(params.tested, key=lambda name: [BASE, *params.arms].index(name))
    asked = {row["qa_id"] for row in read_table(TEST, "split", ["qa_id"])}
    audit = json.loads(require(AUDIT, "audit").read_text(encoding="utf-8"))
    comparison = compare(
        {name: _read_predictions(name, asked, params.evaluate.conditions) for name in models},
        planned_pairs(models, params.arms),
        audit,
        params.compare.confidence,
        params.compare.resamples,
        params.seed,
        params.compare.max_blind,
    )
    write_json(COMPARISON, comparison)
    write_json(METRICS, flat_metrics(comparison))
    with replacing(TABLE) as temporary:
        temporary.write_text(render(comparison), encoding="utf-8")
    print(main_table(comparison))


def _read_predictions(model: str, asked: set[str], conditions: Mapping[str, ConditionParams]) -> "pd.DataFrame":
    """Return a model's predictions under `conditions`; InputError unless they cover the test split exactly."""
    import pandas as pd

    from abo_vqa.catalog.tables import read_table

    path = PREDICTIONS / f"{model}.parquet"
    table = pd.DataFrame(read_table(path, f"evaluate@{model}"))
    parts = [table[table["condition"] == condition] for condition in conditions]
    for condition, part in zip(conditions, parts, strict=True):
        if different := sorted(asked ^ set(part["qa_id"])):
            raise InputError(
                f"{path}: under the condition {condition} it answers other questions than {TEST} holds: "
                f"{len(different)} differ, {different[0]} first; run `dvc repro evaluate@{model}`"
            )
    return pd.concat(parts)


if __name__ == "__main__":
    run_stage("compare", main)
