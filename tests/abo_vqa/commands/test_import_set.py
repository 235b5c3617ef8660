"""A table of questions becomes archives, recorded outputs and a preset that the stages read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner, Result

from abo_vqa.catalog.archives import read_catalog
from abo_vqa.commands.app import app
from abo_vqa.commands.preset import apply_overrides
from abo_vqa.common.params import check_params
from abo_vqa.generators.recorded import select_recorded
from abo_vqa.questions.validate import curate
from small_archives import jpeg

COLORS = ["red", "green", "blue", "black", "white"]


@pytest.fixture
def project(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "params.yaml").write_bytes((root / "params.yaml").read_bytes())
    shutil.copytree(root / "expectations", tmp_path / "expectations")
    for number in range(5):
        (tmp_path / f"pictures/{number}.jpg").write_bytes(jpeg(number))
    return tmp_path


@pytest.fixture
def import_set(project: Path) -> Callable[..., Result]:
    def run(rows: list[dict[str, object]], *options: str) -> Result:
        pd.DataFrame(rows).to_json("mine.jsonl", orient="records", lines=True)
        return CliRunner().invoke(app, ["import-set", "mine.jsonl", "--images", "pictures", *options])

    return run


def asked(number: int, **more: object) -> dict[str, object]:
    return {"image": f"{number}.jpg", "question": "What color is it?", "answer": COLORS[number]} | more


def test_each_image_is_a_product_with_all_of_its_questions(import_set: Callable[..., Result], project: Path) -> None:
    # The first picture again under another name: equal bytes are one product.
    (project / "pictures/again.jpg").write_bytes(jpeg(0))
    rows = [asked(number) for number in range(5)] + [asked(0, image="again.jpg", question="Which color is this?")]
    done = import_set(rows)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("import-set: 6 questions on 5 images\n")
    overrides = YAML(typ="safe").load(project / "presets/own-set.yaml")
    text, _ = apply_overrides((project / "params.yaml").read_text(), overrides)
    params = check_params(YAML(typ="safe").load(text))
    assert params.sample.products == 5

    read, images = read_catalog(Path(params.sample.listings), Path(params.sample.images))
    with images:
        listings = list(read.listings)
        places = images.find(read.listings.column("image"))
        files = {images.path_at(place): images.read_at(place) for place in places.tolist()}
    assert set(files.values()) == {jpeg(number) for number in range(5)}

    assert params.generate.recorded is not None
    products = {f"{one.image_id[:2]}/{one.image_id}.jpg": one.product_id for one in listings if one.image_id}
    recorded = select_recorded(Path(params.generate.recorded), products)
    assert recorded.products_without == 0 and not recorded.unknown
    first = next(output for output in recorded.outputs if files[output.image_path] == jpeg(0))
    assert [one["question"] for one in json.loads(first.output)["questions"]] == [
        "What color is it?", "Which color is this?",
    ]  # fmt: skip

    clean = curate(recorded.outputs, params.validate_, params.seed, []).clean
    assert len(clean) == 6
    assert all(one.answer in one.options and set(one.options) <= set(COLORS) for one in clean)


def test_options_keep_their_number(import_set: Callable[..., Result], project: Path) -> None:
    rows = [asked(number, options=COLORS[:3]) for number in range(3)]
    assert import_set(rows).exit_code == 0
    assert YAML(typ="safe").load(project / "presets/own-set.yaml")["validate"] == {"options": 3}
    line = json.loads((project / "data/own-questions.jsonl").read_text().splitlines()[0])
    assert json.loads(line["output"])["questions"][0]["options"] == COLORS[:3]


def test_equal_sets_have_equal_bytes(import_set: Callable[..., Result], project: Path) -> None:
    rows = [asked(number) for number in range(5)]

    def written() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (project / "data").iterdir()}

    import_set(rows)
    before = written()
    import_set(rows[::-1])
    assert written() == before


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (asked(1, image="9.jpg"), "image 9.jpg is not in pictures"),
        (asked(1, image="broken.jpg"), "image broken.jpg cannot be read: "),
        (asked(1, question=""), "row 2: "),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_written(
    import_set: Callable[..., Result], project: Path, row: dict[str, object], problem: str
) -> None:
    (project / "pictures/broken.jpg").write_bytes(jpeg(1)[:200])
    rows = [asked(0), row]
    refused = import_set(rows)
    assert refused.exit_code == 1
    assert "mine.jsonl: 1 problems: " in refused.stderr and problem in refused.stderr
    assert not (project / "data").exists()
    done = import_set(rows, "--skip-bad")
    assert done.stdout.startswith("import-set: 1 questions on 1 images; 1 problems left out\n")
