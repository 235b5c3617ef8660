"""No stage imports what it does not use: each is run to its end, and its heavy modules are those named here."""

import json
from pathlib import Path

import pytest

from project import copy_project, run

pytestmark = pytest.mark.slow

# What each stage needs of the modules that are slow to import (benchmarks/cold_start.py), pyarrow and pandas apart.
USES = {
    "sample": {"datasets", "matplotlib"},  # the images' column in Hugging Face's form; plots
    "generate": set(),  # from metadata; the source vlm needs a model's libraries
    "validate": {"great_expectations", "matplotlib"},
    "split": {"great_expectations", "imagehash", "sklearn"},  # the suite; near duplicates; the text model
    "compare": {"mlflow", "statsmodels"},  # the run; paired tests
    "register": {"mlflow"},
    "report": {"matplotlib", "mlflow"},
}
BEFORE_THE_MODEL_IS_LOADED = {
    "audit": set(),
    "train": {"accelerate", "bitsandbytes", "datasets", "peft", "torch", "transformers", "trl"},
    "evaluate": set(),
    "score": set(),
}
# Come with others: scipy with sklearn, imagehash and peft's packages, pandas and pyarrow with all tables.
COMMON = {"pandas", "pyarrow", "scipy"}


@pytest.fixture(scope="module")
def clone(repro_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(repro_once, tmp_path_factory.mktemp("cold") / "abo-vqa")


def measured(clone: Path, stages: list[str], *options: str) -> dict[str, dict[str, list[str]]]:
    return json.loads(
        run(f"python benchmarks/cold_start.py --json {' '.join(options)} --stages {' '.join(stages)}", clone)
    )


def test_a_stage_without_a_model_imports_what_it_uses(clone: Path) -> None:
    found = measured(clone, list(USES), "--to-the-end")
    assert {stage: set(row["end"]) - COMMON for stage, row in found.items()} == USES
    for row in found.values():
        assert set(row["first"]) <= COMMON, "nothing heavy before the first input is read"


def test_a_stage_with_a_model_imports_what_it_uses_before_it_reads(clone: Path) -> None:
    found = measured(clone, list(BEFORE_THE_MODEL_IS_LOADED))
    assert {stage: set(row["first"]) - COMMON for stage, row in found.items()} == BEFORE_THE_MODEL_IS_LOADED


def test_an_import_too_many_is_seen(clone: Path) -> None:
    stage = clone / "src/abo_vqa/report/stage.py"
    kept = stage.read_text()
    stage.write_text(kept.replace("import json\n", "import json\nimport sklearn\n", 1))
    try:
        assert "sklearn" in measured(clone, ["report"])["report"]["first"]
    finally:
        stage.write_text(kept)


@pytest.mark.parametrize(
    "stage",
    [
        "audit.stage",
        "training.stage --model options-1",
        "inference.stage --model options-1",
        "metrics.stage",
        "comparison.stage",
        "serving.stage",
        "report.stage",
    ],
)
def test_a_wrong_parameter_is_reported_before_anything_heavy_is_imported(clone: Path, stage: str) -> None:
    params = clone / "params.yaml"
    kept = params.read_text()
    params.write_text(kept + "\nsead: 1\n")
    try:
        said = run(f"PYTHONPATH=src python -X importtime -m abo_vqa.{stage}", clone, ok=False)
    finally:
        params.write_text(kept)
    assert "sead: unknown parameter" in said
    imported = {line.rpartition("|")[2].strip() for line in said.splitlines() if line.startswith("import time:")}
    assert "pydantic" in imported
    assert not imported & {"torch", "transformers", "mlflow", "pandas", "matplotlib", "sklearn"}
