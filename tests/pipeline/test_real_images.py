"""The whole pipeline on real ABO photographs with a real 7B model's recorded questions."""

import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from paths import SUPPORT
from project import clone_project, commit, run, scale

pytestmark = pytest.mark.slow

ARCHIVES = ("abo-listings.tar", "abo-images-small.tar")
RECORDED = "llava_v1.6_mistral_7b_raw.jsonl.gz"


@pytest.fixture(scope="module")
def real_data(root: Path) -> Path:
    folder = Path(os.environ.get("ABO_VQA_REAL_DATA", root.parent / "shared/abo"))
    if not (folder / "archives" / ARCHIVES[0]).is_file():
        pytest.skip("no real ABO data: set ABO_VQA_REAL_DATA to a folder with archives/ and qa/")
    return folder


@pytest.fixture(scope="module")
def finished(root: Path, real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone taken through the README's steps to the real archives, and run."""
    folder = clone_project(root, tmp_path_factory.mktemp("real") / "abo-vqa")
    run("git rm -q --cached data/*.tar && dvc remove data.dvc", folder)
    for name in ARCHIVES:
        shutil.copy(real_data / "archives" / name, folder / "data")
    shutil.copy(real_data / "qa" / RECORDED, folder / "data")
    run("dvc add -q data", folder)
    commit(folder, "the real archives")
    scale(folder, SUPPORT / "real.yaml")
    run("dvc repro", folder)
    return folder


def report(folder: Path, name: str) -> dict:
    return json.loads((folder / f"reports/{name}.json").read_text())


def test_at_least_500_photographs_reach_the_table(finished: Path) -> None:
    questions = pq.read_table(finished / "tables/questions.parquet", columns=["image_id", "generator"]).to_pylist()
    assert len({row["image_id"] for row in questions}) >= 500
    assert {row["generator"] for row in questions} == {"recorded"}
    assert (finished / "reports/comparison.md").read_text().count("| options ") > 3


def test_the_accounting_closes(finished: Path) -> None:
    generated, validated, split = (report(finished, name) for name in ("generate", "validation", "split"))
    clean = pq.read_metadata(finished / "tables/questions.parquet").num_rows
    reasons = pq.read_table(finished / "tables/quarantine.parquet", columns=["reason"])["reason"].to_pylist()
    kept = generated["outputs"] + generated["outputs_repeated"]
    assert generated["outputs_read"] == kept + generated["outputs_for_unknown_images"] == 10_800
    assert validated["outputs"]["read"] == generated["outputs"]
    questions = validated["questions"]
    assert questions["read"] == questions["clean"] + questions["quarantined"]
    assert questions["clean"] == clean == sum(part["questions"] for part in split.values())
    assert sum(validated["quarantined_by_reason"].values()) == questions["quarantined"] > 0
    assert len(reasons) == questions["quarantined"] + validated["outputs"]["unparsable"]


def test_the_data_is_dvcs_and_not_gits(finished: Path) -> None:
    assert run("git ls-files data", finished).split() == ["data/.gitignore"] or not run("git ls-files data", finished)
    assert "cache: false" not in (finished / "data.dvc").read_text()


def test_outputs_for_unknown_images_alone_are_refused(finished: Path) -> None:
    stranger = {"image": "zz/zzzzzzzz.jpg", "output": '{"questions": []}'}
    (finished / "data/strangers.jsonl").write_text(json.dumps(stranger) + "\n")
    run("cp params.yaml params.kept && sed -i 's#data/llava.*gz#data/strangers.jsonl#' params.yaml", finished)
    try:
        out = run("PYTHONPATH=src python -m abo_vqa.generators.stage", finished, ok=False)
    finally:
        run("mv params.kept params.yaml && rm data/strangers.jsonl", finished)
    assert "data/strangers.jsonl" in out
    assert "Traceback" not in out
