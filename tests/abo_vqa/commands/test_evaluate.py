"""`abo-vqa evaluate` on sets that are not ours, with base and adapters over it."""

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from abo_vqa.commands import evaluate as evaluation
from abo_vqa.commands.app import main
from abo_vqa.commands.prediction_table import check_path
from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params
from abo_vqa.inference.prompt_tree.scorer import Prompt, Scorer
from abo_vqa.model.adapters import attach_adapters, use_adapter
from abo_vqa.model.base.loading import load_base, load_processor
from abo_vqa.model.features import ImageFeatures
from abo_vqa.model.shared_image import ImageCollator
from adapted import adapted
from paths import ROOT

QUESTIONS = [("What color is it?", ["red", "blue", "green", "black"]), ("How many are there?", ["1", "2", "3", "4"])]


@pytest.fixture(scope="module")
def adapters(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two different adapters over the demo's base model, as PEFT saves them."""
    from abo_vqa.common.params import read_params

    params = read_params(root / "params.yaml")
    params = params.model_copy(update={"model": params.model.model_copy(update={"base": str(root / "models/demo")})})
    folders = {}
    for seed, name in enumerate(("first", "second")):
        folders[name] = tmp_path_factory.mktemp("adapters") / name
        adapted(params, seed, spread=0.2).save_pretrained(folders[name])
    return folders


@pytest.fixture
def coco(tmp_path: Path, images: dict[str, bytes]) -> Path:
    """A set in A-OKVQA's published layout: a JSON file and a folder of COCO images."""
    (tmp_path / "val2017").mkdir()
    rows = []
    for number, (name, data) in enumerate(images.items()):
        (tmp_path / f"val2017/{number:012}.jpg").write_bytes(data)
        for place, (question, choices) in enumerate(QUESTIONS):
            rows.append(
                {"split": "val", "image_id": number, "question_id": f"{name}-{place}", "question": question,
                 "choices": choices, "correct_choice_idx": (number + place) % 4, "direct_answers": []}
            )  # fmt: skip
    (tmp_path / "aokvqa_v1p0_val.json").write_text(json.dumps(rows))
    return tmp_path


def evaluate(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "abo_vqa.commands.app", "evaluate", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_base_and_adapters_on_a_okvqas_layout(root: Path, coco: Path, adapters: dict[str, Path]) -> None:
    named = [part for name, folder in adapters.items() for part in ("--adapter", f"{name}={folder}")]
    done = evaluate(
        coco / "aokvqa_v1p0_val.json", "--images", coco / "val2017", "--image-name", "{:0>12}.jpg",
        "--base", root / "models/demo", *named, "--output", coco / "out.parquet", cwd=coco,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    shown = re.findall(r"^\| (base|first|second) +\| (\w+) +\| +(\d+) \| +([\d.]+ %)", done.stdout, re.MULTILINE)
    conditions = ("open", "options", "circular", "blind")
    assert [row[:2] for row in shown] == [(m, c) for m in ("base", "first", "second") for c in conditions]
    predictions = pd.read_parquet(coco / "out.parquet")
    for model, condition, n, accuracy in shown:
        part = predictions[(predictions["model"] == model) & (predictions["condition"] == condition)]
        assert (int(n), accuracy) == (16, f"{100 * part['correct'].mean():.1f} %")
    assert "16 questions on 8 images; always picking the first option is right in 25.0 %" in done.stdout


def test_switched_adapters_answer_as_reloaded_ones(
    root: Path, tiny_params: Params, images: dict[str, bytes], adapters: dict[str, Path], tmp_path: Path
) -> None:
    params = tiny_params.model.model_copy(update={"base": str(root / "models/demo")})
    processor = load_processor(params)
    features = ImageFeatures(tmp_path, images, load_base(params), processor)
    collator = ImageCollator(processor, images, features, 4096)
    prompts = [Prompt(question, tuple(options)) for question, options in QUESTIONS]

    def ask(model: Any) -> list[Any]:
        return Scorer(model, collator, 6, 512).ask("image-3", prompts)

    loaded = {"base": load_base(params)} | {
        name: attach_adapters(load_base(params), {name: folder}) for name, folder in adapters.items()
    }
    alone = {name: ask(model) for name, model in loaded.items()}
    model, switched = attach_adapters(load_base(params), adapters), {}
    for name in ("base", *adapters):
        with use_adapter(model, name):
            switched[name] = ask(model)
    assert list(switched) == ["base", "first", "second"]
    for name, answers in switched.items():
        for one, other in zip(answers, alone[name], strict=True):
            assert one.tokens == other.tokens
            assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-5)
    assert len({answers[0].log_probabilities for answers in switched.values()}) == 3


def refusal(arguments: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what the command says, in this process, before it gives up."""
    monkeypatch.setattr(sys, "argv", ["abo-vqa", "evaluate", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code
    return capsys.readouterr().err


def test_images_in_an_archive_and_bad_rows_left_out(
    root: Path, coco: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with tarfile.open(coco / "images.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        for path in sorted((coco / "val2017").iterdir())[:5]:
            archive.add(path, f"images/small/{path.name}")
    command = [
        coco / "aokvqa_v1p0_val.json", "--images", coco / "images.tar", "--image-name", "{:0>12}.jpg",
        "--base", root / "models/demo", "--conditions", "open",
    ]  # fmt: skip
    refused = refusal(command, monkeypatch, capsys)
    assert "3 problems: image 000000000005.jpg is not in" in refused and "--skip-bad" in refused
    done = evaluate(*command, "--skip-bad", cwd=coco)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "10 questions on 5 images" in done.stdout and "3 skipped" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--adapter", "first"], "--adapter first: must be NAME=FOLDER"),
        (["--adapter", "base=x"], "with a name other than base"),
        (["--adapter", "mine=nowhere"], "nowhere has no adapter_config.json"),
        (["--images", "nowhere"], "--images nowhere: not found"),
        (["--predictions", "answers.xlsx"], "--predictions answers.xlsx: must end in .csv or .parquet"),
        (["--predictions", "no/where/a.csv"], "--predictions no/where/a.csv: the folder no/where does not exist"),
        (["--adapter", "a.b=x"], "the name must be of letters, digits, _ and -"),
        (["--adapter", "a b=x"], "the name must be of letters, digits, _ and -"),
        (["--base", "./nowhere"], "--base: there is no folder ./nowhere"),
        (["--bertscore", "./nowhere"], "--bertscore: there is no folder ./nowhere"),
        (["--image-name", "{gone}"], "--image-name {gone}: does not fit"),
    ],
)
def test_wrong_arguments_are_named(
    root: Path,
    coco: Path,
    arguments: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = [coco / "aokvqa_v1p0_val.json", "--base", root / "models/demo", *arguments]
    assert says in refusal(command, monkeypatch, capsys)


def test_files_and_names_that_would_be_lost_are_refused(
    root: Path,
    coco: Path,
    adapters: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    questions = coco / "aokvqa_v1p0_val.json"
    command = [questions, "--base", root / "models/demo", "--images", coco / "val2017", "--image-name", "{:0>12}.jpg"]
    before = questions.read_bytes()
    same = [part for folder in adapters.values() for part in ("--adapter", f"mine={folder}")]
    for arguments, says in (
        (same, "--adapter: the name mine is there twice"),
        (["--output", questions], f"--output {questions}: is the file of QUESTIONS, too"),
        (["--output", coco / "a.parquet", "--predictions", coco / "a.parquet"], "is the file of --predictions, too"),
    ):
        assert says in refusal([*command, *arguments], monkeypatch, capsys)
    (adapters["first"] / "adapter_model.safetensors").rename(coco / "kept")
    try:
        says = refusal([*command, "--adapter", f"first={adapters['first']}"], monkeypatch, capsys)
        assert "has no adapter_model.safetensors" in says
    finally:
        (coco / "kept").rename(adapters["first"] / "adapter_model.safetensors")
    assert questions.read_bytes() == before
    with (
        monkeypatch.context() as patched,
        pytest.raises(InputError, match=r"--output .*a\.parquet: may not be written"),
    ):
        patched.setattr(os, "access", lambda *_: False)
        check_path("--output", coco / "a.parquet")


def test_bad_images_are_named_and_left_out(
    root: Path, coco: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before a model is loaded: there is none."""
    (coco / "val2017/000000000003.jpg").write_bytes((coco / "val2017/000000000003.jpg").read_bytes()[:300])
    command = [
        coco / "aokvqa_v1p0_val.json", "--images", coco / "val2017", "--image-name", "{:0>12}.jpg",
        "--base", root / "tests", "--conditions", "open",
    ]  # fmt: skip
    refused = refusal(command, monkeypatch, capsys)
    assert "1 problems: image 000000000003.jpg cannot be read" in refused
    # What comes after the first questions does not matter.
    assert "model.base: cannot open" in refusal([*command, "--limit", "6"], monkeypatch, capsys)
    given = SimpleNamespace(
        questions=command[0], images=command[2], image_name=command[4], skip_bad=True, limit=8, conditions=["open"]
    )
    rows, images, problems = evaluation._questions(given)
    assert len(rows) == 8 and set(images) == {"0", "1", "2", "4"}
    assert len(problems) == 1 and "000000000003.jpg" in problems[0]


def test_the_models_own_special_tokens_are_refused_by_question(tiny_params: Params, tmp_path: Path) -> None:
    processor = load_processor(tiny_params.model)
    row = {"qa_id": "q7", "question": "What color is it?", "options": ["red", "blue"]}
    evaluation.refuse_special_tokens(Path("x.csv"), [row], processor)
    for change in ({"question": "What <eos>?"}, {"options": ["red", "a<pad>b"]}, {"question": processor.image_token}):
        with pytest.raises(InputError, match=r"x\.csv, question q7: .* has '<\w+>', a special token of the model"):
            evaluation.refuse_special_tokens(Path("x.csv"), [row | change], processor)


def test_conditions_are_a_list_or_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(evaluation, "run", lambda args: seen.append(args.conditions))
    for given in (["--conditions", "blind", "open", "--conditions", "options", "a.csv"], ["a.csv"]):
        monkeypatch.setattr(sys, "argv", ["abo-vqa", "evaluate", "--base", "b", *given])
        with pytest.raises(SystemExit):
            main()
    assert seen == [["blind", "open", "options"], ["open", "options", "circular", "blind"]]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_rows_without_options_are_asked_openly(
    root: Path,
    tmp_path: Path,
    images: dict[str, bytes],
    ending: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = []
    for number, data in enumerate(list(images.values())[:5]):
        (tmp_path / f"{number}.jpg").write_bytes(data)
        options = ["red", "blue", "green", "black"] if number < 3 else None
        row = {"image_name": f"{number}.jpg", "question": "What color is it?", "options": options, "answer": "red"}
        rows.append(row)
    (tmp_path / "set.jsonl").write_text("\n".join(map(json.dumps, rows)))
    written = tmp_path / f"answers.{ending}"
    shown = run_here(
        ["set.jsonl", "--images", ".", "--base", root / "models/demo", "--predictions", written],
        tmp_path, monkeypatch, capsys,
    )  # fmt: skip
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in shown.splitlines() if line[:6] == "| base"]
    counts = [("open", "3"), ("open, no options", "2"), ("options", "3"), ("circular", "3"), ("blind", "3")]
    assert [(row[1], row[2]) for row in cells] == counts
    assert [cells[1][place] for place in (5, 7, 10, 11)] == ["-"] * 4, "ranked, chance, rescaled, ECE"
    assert "nan" not in shown.lower()
    assert "2 of 5 questions have no options: asked under open only" in shown
    assert "of those with options" in shown
    table = pd.read_csv(written) if ending == "csv" else pd.read_parquet(written)
    assert table.groupby("condition", sort=False).size().to_dict() == {
        "open": 5,
        "options": 3,
        "circular": 3,
        "blind": 3,
    }
    bare = table[table["options"].isna()]
    assert bare["image"].tolist() == ["3.jpg", "4.jpg"] and bare["log_probabilities"].isna().all()
    assert table["generated_answer"].notna().all() and (table["answer"] == "red").all()
    assert (table["tolerant_match"] | ~table["correct"]).all()
    scores = table["log_probabilities"].dropna()
    assert {len(json.loads(cell) if ending == "csv" else cell) for cell in scores} == {4}
    assert list(tmp_path.glob(".*tmp")) == []


def run_here(
    arguments: list[Any], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """Return what the command prints, run in this process in a folder."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["abo-vqa", "evaluate", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    return capsys.readouterr().out


def test_a_table_without_options_needs_the_condition_open(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    (tmp_path / "set.csv").write_text("filename,question,answer\na.jpg,Color?,red\n")
    command = [tmp_path / "set.csv", "--images", tmp_path, "--base", root / "models/demo", "--conditions", "options"]
    assert "can only be asked under --conditions open" in refusal(command, monkeypatch, capsys)
