"""The stage generate with a model: killed at any moment it goes on, and ends as if it had never been killed."""

import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from ruamel.yaml import YAML

from abo_demo.llava_next import save_llava_next
from abo_demo.scene import draw_scene, sample_scene
from abo_vqa.commands.preset import apply_overrides
from abo_vqa.common.draws import derive_rng
from abo_vqa.common.errors import readable_errors
from abo_vqa.common.params import Params, check_params
from abo_vqa.common.schema import RawOutput
from abo_vqa.generators import vlm_remote
from abo_vqa.generators import vlm_writer as generating
from abo_vqa.generators.stage import COLUMNS, main
from abo_vqa.questions.parse import parse_output

safe = YAML(typ="safe", pure=True)

IMAGES, BATCH = 18, 4
MADE = ("tables/raw.jsonl", "reports/generate.json")


@pytest.fixture(scope="module")
def project(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that makes a folder with parameters, sample and prompt, all for one tiny model."""
    model = save_llava_next(tmp_path_factory.mktemp("vlm"))

    def make(**changes: Any) -> Path:
        folder = tmp_path_factory.mktemp("project")
        values = safe.load(root / "params.yaml")
        values["generate"]["source"] = "vlm"
        vlm = values["generate"]["vlm"]
        vlm |= {"base": str(model), "prompt": "prompt.txt", "longest_question": 24, "longest_word": 5}
        vlm["batch_size"] = BATCH
        vlm |= changes
        vlm["quantization"] |= {"load_in_4bit": False, "compute_dtype": "float32"}
        YAML().dump(values, folder / "params.yaml")
        (folder / "prompt.txt").write_text("Write five questions as JSON.\n")
        (folder / "tables").mkdir()
        pq.write_table(
            pa.Table.from_pylist([row(number) for number in range(IMAGES)]), folder / "tables/sample.parquet"
        )
        return folder

    return make


def row(number: int) -> dict[str, Any]:
    """Return a product of the sample with a drawn image."""
    rng = derive_rng(3, number)
    with io.BytesIO() as file:
        draw_scene(sample_scene(rng), rng, (64, 48 + 8 * (number % 4))).save(file, "JPEG")
        image = {"bytes": file.getvalue(), "path": None}
    texts = dict.fromkeys(COLUMNS) | {"product_id": f"P{number}", "image_id": f"I{number}", "bullets": []}
    return texts | {"image_path": f"00/{number:08x}.jpg", "image": image}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Return a function that runs the stage in a folder."""
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)

    def run_in(folder: Path) -> None:
        monkeypatch.chdir(folder)
        with readable_errors("generate"):
            main()

    return run_in


def journal_entries(folder: Path) -> list[Any]:
    """Return what the journal holds, without waiting for the process that writes it."""
    entries: list[Any] = []
    for path in sorted((folder / "tables/generating").glob("*.db")):
        with closing(sqlite3.connect(path)) as connection, suppress(sqlite3.OperationalError):  # no table yet
            entries += [json.loads(text) for (text,) in connection.execute("SELECT entry FROM entries ORDER BY place")]
    return entries


def kill_after(batches: int, delay: float, folder: Path, root: Path) -> list[Any]:
    """Run the stage in its own process, SIGKILL it `delay` seconds after so many batches; return its journal."""
    process = subprocess.Popen(
        [sys.executable, "-m", "abo_vqa.generators.stage"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(root / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    while len(journal_entries(folder)) < batches:
        assert process.poll() is None, process.communicate()[0].decode()
        time.sleep(0.01)
    time.sleep(delay)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    return journal_entries(folder)


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_like_one_that_was_not(
    project: Callable[..., Path], root: Path, run: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    whole, killed = project(), project()
    run(whole)
    rng = derive_rng(int(time.time()), "kill")  # another moment every time
    before: list[Any] = []
    for batches in (1, 3):
        after = kill_after(batches, rng.uniform(0, 0.4), killed, root)
        assert after[: len(before)] == before, "something generated before was lost or made again"
        before = after
        assert not (killed / MADE[0]).exists()
    capsys.readouterr()
    run(killed)
    assert f"{len(before) * BATCH}/{IMAGES}" in capsys.readouterr().err
    for name in MADE:
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    assert journal_entries(killed)[: len(before)] == before
    assert journal_entries(killed) == journal_entries(whole)
    check_outputs(whole)
    check_runs(whole, killed)
    # And once more: nothing is left to do.
    run(whole)
    assert f"all {IMAGES} outputs are in" in capsys.readouterr().out


def check_outputs(folder: Path) -> None:
    outputs = [RawOutput(**json.loads(line)) for line in (folder / MADE[0]).open()]
    report = json.loads((folder / MADE[1]).read_text())
    params = check_params(safe.load(folder / "params.yaml"))
    assert [output.product_id for output in outputs] == [f"P{number}" for number in range(IMAGES)]
    assert {(o.generator, o.seed, o.model) for o in outputs} == {("vlm", params.seed, params.generate.vlm.base)}
    assert {output.prompt for output in outputs} == {report["prompt"]["digest"]}
    assert report["prompt"]["text"] == "Write five questions as JSON."
    assert report["outputs"] == report["outputs_valid"] == IMAGES
    assert report["failures"] == {}
    assert report["batch_sizes"] == [2, BATCH]
    entries = [parse_output(output.output) for output in outputs]
    assert [len(questions) for questions in entries] == [5] * IMAGES
    assert report["questions"] == 5 * IMAGES


def check_runs(whole: Path, killed: Path) -> None:
    """What MLflow has been told: a run that finished, and three of which two were killed."""
    from mlflow import MlflowClient

    statuses = {}
    for folder in (whole, killed):
        client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
        runs = client.search_runs(["1"], order_by=["attributes.start_time"])
        statuses[folder] = [run.info.status for run in runs]
        assert {run.info.run_name for run in runs} == {"generate vlm"}
    assert statuses == {whole: ["FINISHED"], killed: ["KILLED", "KILLED", "FINISHED"]}
    metrics = runs[-1].data.metrics
    assert metrics["generate/images"] + metrics["generate/images_resumed"] == IMAGES
    assert metrics["generate/questions"] == 5 * metrics["generate/images"]
    assert metrics["generate/questions_per_second"] > 0
    assert metrics["generate/batch_size"] == BATCH


def test_free_text_is_counted_by_failure(project: Callable[..., Path], run: Callable[[Path], None]) -> None:
    from mlflow import MlflowClient

    folder = project(constrained=False, max_new_tokens=12, batch_size=IMAGES)
    run(folder)
    report = json.loads((folder / MADE[1]).read_text())
    assert report["outputs"] == IMAGES
    assert report["outputs_valid"] == 0
    assert sum(report["failures"].values()) == IMAGES
    assert report["max_new_tokens"] == 12
    assert not report["constrained"]
    [logged] = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}").search_runs(["1"])
    kind = "generate/failures/"
    told = {name.removeprefix(kind): n for name, n in logged.data.metrics.items() if name.startswith(kind)}
    assert told == report["failures"]


def test_pictures_that_do_not_fit_are_counted_and_not_tried_again(
    project: Callable[..., Path], run: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Small(generating.QuestionWriter):
        """Has room for two pictures, and for the sixth not at all."""

        def __call__(self, pictures: Sequence[generating.Picture]) -> list[generating.Output]:
            if len(pictures) > 2 or any(picture.path == "00/00000005.jpg" for picture in pictures):
                raise torch.OutOfMemoryError("CUDA out of memory")
            return [generating.Output(picture.path, "{}", None) for picture in pictures]

    monkeypatch.setattr(generating, "QuestionWriter", Small)
    folder = project()
    run(folder)
    report = json.loads((folder / MADE[1]).read_text())
    outputs = [json.loads(line) for line in (folder / MADE[0]).open()]
    assert [output["product_id"] for output in outputs] == [f"P{n}" for n in range(IMAGES) if n != 5]
    assert report["failures"] == {"out_of_memory": 1}
    assert (report["outputs"], report["products_without_output"]) == (IMAGES - 1, 1)
    assert report["batch_sizes"] == [1, 2]
    (folder / MADE[0]).unlink()
    run(folder)
    assert [json.loads(line) for line in (folder / MADE[0]).open()] == outputs


def test_a_run_that_was_halved_goes_on_with_halves(
    project: Callable[..., Path], run: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Interrupted(generating.QuestionWriter):
        """Has room for two pictures; is interrupted once."""

        def __call__(self, pictures: Sequence[generating.Picture]) -> list[generating.Output]:
            asked.append(len(pictures))
            if len(pictures) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            if len(asked) == 4:
                raise KeyboardInterrupt
            return [generating.Output(picture.path, "{}", None) for picture in pictures]

    monkeypatch.setattr(generating, "QuestionWriter", Interrupted)
    folder = project()
    with pytest.raises(KeyboardInterrupt):
        run(folder)
    run(folder)
    assert asked == [BATCH, 2, 2, 2] + [2] * (IMAGES // 2 - 2)


def test_outputs_are_used_again_only_if_nothing_changed_that_decides_them(
    project: Callable[..., Path], run: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0

    class Counting(generating.QuestionWriter):
        """Counts its batches."""

        def __call__(self, pictures: Sequence[generating.Picture]) -> list[generating.Output]:
            nonlocal written
            written += 1
            return [generating.Output(picture.path, "{}", None) for picture in pictures]

    monkeypatch.setattr(generating, "QuestionWriter", Counting)
    folder = project(batch_size=IMAGES)
    values = safe.load(folder / "params.yaml")
    settings = values["generate"]["vlm"]

    def runs_anew() -> bool:
        before = written
        YAML().dump(values, folder / "params.yaml")
        run(folder)
        return written > before

    assert runs_anew()
    copy = Path(shutil.copytree(settings["base"], folder / "copy"))
    (copy / "README.md").write_text("A model.")
    settings |= {"base": str(copy), "prompt": str(folder / "prompt.txt")}
    values["train"]["learning_rate"] = 0.5
    assert not runs_anew()
    # Last bits of the scores depend on the batch's shape.
    settings["batch_size"] = IMAGES - 1
    assert runs_anew()
    settings["sampling"]["temperature"] = 0.5
    assert runs_anew()
    (folder / "prompt.txt").write_text("Write five.")
    assert runs_anew()
    (copy / "added_tokens.json").write_text("{}")
    assert runs_anew()
    assert not runs_anew()
    monkeypatch.setattr(vlm_remote, "code_digest", lambda module: f"other code of {module}")
    assert runs_anew()


def test_a_prompt_that_is_not_there_is_named(
    project: Callable[..., Path], run: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(project(prompt="nowhere.txt"))
    assert "generate.vlm.prompt: nowhere.txt: cannot be read" in capsys.readouterr().err


@pytest.mark.slow
def test_two_workers_one_of_them_killed_write_the_bytes_of_one_machine(
    project: Callable[..., Path],
    run: Callable[[Path], None],
    root: Path,
) -> None:
    pytest.importorskip("ray", reason='needs the package ray: pip install "abo-vqa[ray]"')
    here, there = project(), project()
    run(here)
    values = YAML(typ="safe", pure=True).load(there / "params.yaml")
    YAML().dump(values | {"engine": "ray", "ray": {"address": "", "workers": 2}}, there / "params.yaml")
    stage = subprocess.Popen(
        [sys.executable, "-m", "abo_vqa.generators.stage"],
        cwd=there,
        env=os.environ | {"RAY_AUTH_MODE": "disabled"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    killed = kill_a_worker(stage, there)
    said, _ = stage.communicate()
    assert stage.returncode == 0, said
    assert killed, f"no worker was there to be killed: {said}"
    for name in MADE:
        assert (there / name).read_bytes() == (here / name).read_bytes(), name
    assert journal_entries(there) == journal_entries(here)
    assert [path.name for path in (there / "tables/generating").glob("*.db")] == [
        path.name for path in (here / "tables/generating").glob("*.db")
    ], "the journal is the same, so that either engine goes on with it"
    assert sum(len(batch["outputs"]) for batch in journal_entries(there)) == IMAGES
    assert json.loads((there / MADE[1]).read_text())["batch_sizes"] == [IMAGES % BATCH, BATCH]


def kill_a_worker(stage: "subprocess.Popen[str]", folder: Path) -> int | None:
    """SIGKILL a worker that holds a model once the first batch is in the journal; return its process."""
    while stage.poll() is None:
        workers = [each for each in psutil.Process(stage.pid).children(recursive=True) if "MapWorker" in title(each)]
        if journal_entries(folder) and workers:
            workers[-1].send_signal(signal.SIGKILL)
            return workers[-1].pid
        time.sleep(0.05)
    return None


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


# The paper's scale.


@pytest.fixture
def paper(root: Path) -> Params:
    text, _ = apply_overrides((root / "params.yaml").read_text(), safe.load(root / "presets/paper.yaml"))
    return check_params(safe.load(text))


def test_the_paper_scale_generates_as_the_paper(paper: Params) -> None:
    vlm = paper.generate.vlm
    assert paper.generate.source == "vlm"
    assert vlm.base == "models/hub/llava-v1.6-mistral-7b-hf.json"
    assert vlm.quantization == paper.model.quantization
    assert vlm.max_new_tokens == 500
    sampling = vlm.sampling
    assert (sampling.do_sample, sampling.temperature, sampling.top_p, sampling.top_k) == (True, 0.7, 0.9, 50)
    assert sampling.repetition_penalty == 1.1
