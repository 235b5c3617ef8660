"""`abo-vqa serve` as its users meet it: good questions answered over HTTP, bad ones refused, none of them fatal."""

import base64
import io
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from ruamel.yaml import YAML

from abo_demo.scene import draw_scene, sample_scene
from abo_vqa.common.digests import code_files
from abo_vqa.common.draws import derive_rng
from abo_vqa.common.params import Params, read_params
from abo_vqa.common.params.measure import ConditionParams
from abo_vqa.inference.ask import BLANK, ask_all, blank_image
from abo_vqa.inference.conditions import Distractors, ask_under
from abo_vqa.inference.prompt_tree.scorer import Scorer
from abo_vqa.metrics.answers import exact_match, score_answers, summarize
from abo_vqa.model.adapters import attach_adapters
from abo_vqa.model.base.loading import load_base, load_processor
from abo_vqa.model.features import ImageFeatures
from abo_vqa.model.shared_image import ImageCollator
from abo_vqa.serving.answering import Answerer, Reply
from abo_vqa.serving.asked import MAX_ROWS
from abo_vqa.serving.packaging import REQUIREMENTS, copy_code, save_served_model
from abo_vqa.serving.registry import register
from abo_vqa.serving.result import adapter_digest
from abo_vqa.serving.served_model import ServedModel
from adapted import NoScorer, adapted
from paths import ROOT
from pictures import REFUSED, WHOLE, encoded
from project import environment as project_environment
from registered import comparison, use_these_words, write_results
from serving import free_port, wait_for

pytestmark = pytest.mark.slow

OPTIONS = ["red", "blue", "green", "black"]
GOOD = {"image": base64.b64encode(WHOLE).decode(), "question": "What color is it?", "options": OPTIONS}


def draw(number: int) -> bytes:
    """A drawn product of the demo's kind, as a JPEG file."""
    rng = derive_rng(3, number)
    with io.BytesIO() as file:
        draw_scene(sample_scene(rng), rng, (96, 80)).save(file, "JPEG")
        return file.getvalue()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose two arms, random adapters over the demo's base, are registered; options is champion."""
    folder = tmp_path_factory.mktemp("served") / "a project"
    (folder / "tables/splits").mkdir(parents=True)
    (folder / "pictures").mkdir()
    values = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
    values["model"]["base"] = str(ROOT / "models/demo")
    YAML().dump(values, folder / "params.yaml")
    (folder / "tables/splits/test.parquet").write_bytes(b"questions")
    (folder / "pictures/red.jpg").write_bytes(WHOLE)
    (folder.parent / "elsewhere.jpg").write_bytes(WHOLE)
    (folder / "pictures/link.jpg").symlink_to(folder.parent / "elsewhere.jpg")
    params = read_params(folder / "params.yaml")
    for seed, arm in enumerate(("standard", "options")):
        adapted(params, seed, spread=0.02).save_pretrained(folder / "models/adapters" / f"{arm}-1")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        write_results({"base": 0.5, "standard": 0.5, "options": 0.8}, seeds=[1], adapters=False)
        use_these_words(patch)
        assert "champion is now version 2" in register(comparison(), params, promote=True)[-1]
    return folder


@pytest.fixture(scope="module")
def url(project: Path) -> Iterator[str]:
    """The server that `abo-vqa serve` starts, its base model and code all from the registered folder."""
    port = free_port()
    command = ["abo-vqa", "serve", "--port", str(port)]
    environment = project_environment()
    log = (project / "serve.log").open("w")
    process = subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(process, f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def post(url: str, body: Any, kind: str = "application/json") -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/invocations", data, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)["predictions"]
    except urllib.error.HTTPError as error:
        text = error.read().decode()
        return error.code, json.loads(text) if text.startswith("{") else text


def records(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"dataframe_records": list(rows)}


@pytest.fixture(scope="module")
def answerer(project: Path) -> Answerer:
    params = read_params(project / "params.yaml")
    return Answerer(params.model, {"options": project / "models/adapters/options-1"}, params.evaluate.max_new_tokens,
                    params.evaluate.tokens_per_pass)  # fmt: skip


def same(found: dict[str, Any], reply: Reply) -> None:
    assert found["answer"] == reply.answer
    if reply.probabilities is None:
        assert found["probabilities"] is None
    else:
        assert list(found["probabilities"]) == list(reply.probabilities)
        assert found["probabilities"] == pytest.approx(reply.probabilities, abs=1e-5)


def test_an_image_as_path_and_as_base64_is_answered_as_python_does(url: str, answerer: Answerer, project: Path) -> None:
    reply = answerer.answer(WHOLE, "What color is it?", OPTIONS, "options")
    wrapped = base64.encodebytes(WHOLE).decode()
    for image in ("pictures/red.jpg", str(project / "pictures/red.jpg"), GOOD["image"], wrapped,
                  f"data:image/jpeg;base64,{GOOD['image']}"):  # fmt: skip
        status, found = post(url, records(GOOD | {"image": image}))
        assert status == 200, found
        same(found[0], reply)
    digest = adapter_digest(project / "models/adapters/options-1")
    assert found[0]["model_version"] == f"abo-vqa/2/{digest[:12]}"


def test_rows_are_answered_in_their_order_open_ones_among_them(url: str, answerer: Answerer) -> None:
    other = base64.b64encode(encoded("PNG", (90, 40))).decode()
    rows = [
        GOOD,
        {"image": other, "question": "What material is it?", "options": ["wood", "steel"]},
        {"image": GOOD["image"], "question": "How many are there?"},
        {"image": other, "question": "What color is it?", "options": None},
        GOOD | {"question": "What is this?"},
    ]
    status, found = post(url, records(*rows))
    assert status == 200, found
    for row, answer in zip(rows, found, strict=True):
        same(answer, answerer.answer(base64.b64decode(row["image"]), row["question"], row.get("options"), "options"))


def test_every_shape_that_mlflow_knows_is_taken(url: str) -> None:
    columns = ["image", "question", "options"]
    bodies = [
        records(GOOD),
        {"dataframe_split": {"columns": columns, "data": [[GOOD[name] for name in columns]]}},
        {"inputs": [GOOD]},
        {"inputs": GOOD},
        {"inputs": {name: [GOOD[name]] for name in columns}},
    ]
    found = [post(url, body) for body in bodies]
    assert found == [found[0]] * len(bodies) and found[0][0] == 200


def test_the_example_that_mlflow_keeps_with_the_model_is_answered(url: str, project: Path) -> None:
    example = next((project / "mlruns").rglob("serving_input_example.json"))
    status, found = post(url, example.read_bytes())
    assert status == 200 and len(found[0]["probabilities"]) == 4


WRONG: dict[str, tuple[Any, str]] = {
    **{
        name: (records(GOOD, GOOD | {"image": base64.b64encode(data).decode()}), f"row 1: .*{re.escape(says)}")
        for name, (data, says) in REFUSED.items()
        if data
    },
    "no image": (records(GOOD | {"image": ""}), "^row 0: image: missing"),
    "image is a number": (records(GOOD | {"image": 5}), "^row 0: image: missing"),
    "image left out of one row": (records(GOOD, {"question": "What?"}), "^row 1: image: missing"),
    "no such file": (records(GOOD | {"image": "pictures/green.jpg"}), "^row 0: image: neither the path of a file in"),
    "a folder": (records(GOOD | {"image": "pictures"}), "^row 0: image: |^row 0: 6 bytes that are no"),
    "a file elsewhere": (records(GOOD | {"image": "../elsewhere.jpg"}), "^row 0: image: neither the path of a file"),
    "a link to elsewhere": (records(GOOD | {"image": "pictures/link.jpg"}), "^row 0: image: neither the path of a"),
    "a wrong row in inputs": ({"inputs": [GOOD | {"options": ["red"]}]}, "^row 0: options: 1 given"),
    "a text of the project": (records(GOOD | {"image": "params.yaml"}), "^row 0: .*params.yaml: .* are no JPEG"),
    "one option": (records(GOOD | {"options": ["red"]}), "^row 0: options: 1 given, must be 2 to 26"),
    "100 options": (records(GOOD | {"options": [str(n) for n in range(100)]}), "^row 0: options: 100 given"),
    "no option": (records(GOOD | {"options": []}), "^row 0: options: 0 given"),
    "options in one text": (records(GOOD | {"options": "red,blue"}), "^row 0: options: must be a list of texts"),
    "the same option twice": (records(GOOD | {"options": ["red", "red"]}), "^row 0: option 2: 'red' is a duplicate"),
    "an empty question": (records(GOOD | {"question": " "}), "^row 0: question: is empty"),
    "a long question": (records(GOOD | {"question": "?" * 5000}), "^row 0: question: 5000 characters"),
    "a sign of the model's": (records(GOOD | {"question": "<image>?"}), "^row 0: .* contains <image>"),
    "longer than the context": (
        records(GOOD | {"options": [f"{n} " + "long option " * 15 for n in range(26)]}),
        "^row 0: question asked: .* more than the model's context of 1024",
    ),
    "several wrong rows": (records(*[GOOD | {"options": ["red"]}] * 5), "^row 0: .*; row 1: .*; row 2: .*; and 2 more"),
    "too many rows": (records(*[GOOD] * (MAX_ROWS + 1)), f"^257 rows given, must be 1 to {MAX_ROWS}"),
    "a column missing": (records({"image": GOOD["image"], "options": OPTIONS}), "^row 0: question: is missing"),
    "a column misspelt": (records(GOOD | {"option": OPTIONS}), "^row 0: 'option' is none of the columns image, "),
    "no row": (records(), f"^0 rows given, must be 1 to {MAX_ROWS}"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_request_is_refused_with_the_reason_and_the_server_lives(url: str, name: str) -> None:
    body, says = WRONG[name]
    status, found = post(url, body)
    assert 400 <= status < 500, found
    assert re.search(says, found["message"], re.DOTALL), found["message"][:2000]
    assert len(found["message"]) < 2000 and "Traceback" not in found["message"]
    status, found = post(url, records(GOOD))
    assert status == 200 and found[0]["answer"]


def test_another_content_type_is_refused(url: str) -> None:
    status, found = post(url, WHOLE, "image/jpeg")
    assert status == 415 and "must be application/json" in found["message"]


def test_the_printed_command_works(url: str, project: Path) -> None:
    printed = (project / "serve.log").read_text()
    assert printed.startswith("abo-vqa serve: "), "no library's words and bars"
    assert (
        f"abo-vqa serve: abo-vqa/2/{adapter_digest(project / 'models/adapters/options-1')[:12]} (options arm)"
        in printed
    )
    [command] = [line.strip() for line in printed.splitlines() if line.strip().startswith("curl ")]
    done = subprocess.run(["bash", "-c", f"{command} -sS"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)["predictions"][0]["probabilities"]) == OPTIONS


def test_requests_at_once_are_all_answered(url: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    bodies = [records(GOOD), records(GOOD | {"options": ["red"]})] * 6
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda body: post(url, body), bodies))
    assert [status for status, _ in found] == [200, 400] * 6
    assert all(found[place] == found[0] for place in range(0, 12, 2))


def test_accuracy_over_http_is_that_of_the_evaluation(url: str, project: Path, tmp_path: Path) -> None:
    params = read_params(project / "params.yaml")
    images = {f"image-{number}": draw(number) for number in range(16)}
    rows = [
        {"qa_id": f"{image}-{place}", "image_id": image, "question_type": "color", "question": question,
         "options": options, "answer": options[number % len(options)]}
        for number, image in enumerate(images)
        for place, (question, options) in enumerate(
            [("What color is it?", OPTIONS), ("What material is it?", ["wood", "steel", "plastic"])]
        )
    ]  # fmt: skip
    conditions = {"open": ConditionParams(options="none"), "options": ConditionParams()}
    asked = {name: ask_under(rows, name, shown, Distractors(rows), 0) for name, shown in conditions.items()}
    base, processor, known = load_base(params.model), load_processor(params.model), images | {BLANK: blank_image()}
    collator = ImageCollator(processor, known, ImageFeatures(tmp_path, known, base, processor), 1024)
    tuned = attach_adapters(base, {"options": project / "models/adapters/options-1"})
    answers = ask_all(Scorer(tuned, collator, 8, 512), params.prompt_of("options"), rows, asked, "options")
    table = score_answers(answers, NoScorer())
    accuracies = []
    for condition, total in summarize(table).items():
        sent = [
            {"image": base64.b64encode(images[row["image_id"]]).decode(), "question": row["question"],
             "options": row["options"] if condition == "options" else None}
            for row in rows
        ]  # fmt: skip
        status, found = post(url, records(*sent))
        assert status == 200, found
        said = [one["answer"] for one in found]
        assert said == [texts[0] for texts in table[table["condition"] == condition]["generated"]]
        right = [exact_match(one, row["answer"]) for one, row in zip(said, rows, strict=True)]
        assert sum(right) / len(rows) == pytest.approx(total["total"]["accuracy"])
        accuracies.append(sum(right) / len(rows))
    assert 0 < max(accuracies) < 1


@pytest.fixture
def load_model(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Load a model as MLflow's users do, without leaving the code it carries on the path of later tests."""
    import mlflow

    monkeypatch.setattr(sys, "path", list(sys.path))
    return mlflow.pyfunc.load_model


def test_in_python_bytes_are_taken_and_mistakes_are_refused(
    project: Path, answerer: Answerer, load_model: Callable[[str], Any]
) -> None:
    folder = next((project / "mlruns").rglob("MLmodel")).parent
    model = load_model(str(folder))
    row = {"image": WHOLE, "question": "What color is it?", "options": OPTIONS}
    found = model.predict(pd.DataFrame([row]))
    assert list(found.columns) == ["answer", "probabilities", "model_version"]
    with pytest.raises(MlflowException, match="row 0: options: 1 given"):
        model.predict(pd.DataFrame([row | {"options": ["red"]}]))


def test_a_model_that_is_not_registered_says_so(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load_model: Callable[[str], Any]
) -> None:
    import mlflow

    monkeypatch.chdir(project)
    params: Params = read_params()
    save_served_model(tmp_path / "model", "options", Path("models/adapters/options-1"), "d" * 64, params)
    found = load_model(str(tmp_path / "model")).predict(pd.DataFrame([GOOD]))
    assert found["model_version"][0] == "unregistered/dddddddddddd"
    assert isinstance(ServedModel(), mlflow.pyfunc.PythonModel)


def test_every_library_that_the_served_code_imports_is_required() -> None:
    from importlib.metadata import packages_distributions

    used = set()
    for path in code_files("abo_vqa.serving.served_model"):
        used |= set(re.findall(r"^\s*(?:from|import) ([a-zA-Z_0-9]+)", path.read_text(), re.MULTILINE))
    names = packages_distributions()
    needed = {name: {made.lower() for made in names[name]} for name in used - {"abo_vqa"} if name in names}
    assert {"torch", "mlflow", "PIL"} <= set(needed)
    assert [name for name, made in needed.items() if not made & set(REQUIREMENTS)] == []


def test_only_the_code_that_is_served_is_copied(tmp_path: Path) -> None:
    copied = copy_code("abo_vqa.serving.served_model", tmp_path)
    src = ROOT / "src"
    found = {src / path.relative_to(tmp_path) for path in copied.rglob("*") if path.is_file()}
    assert found == set(code_files("abo_vqa.serving.served_model"))
    assert {path.name for path in copied.iterdir()} == {"__init__.py", "common", "inference", "model", "serving"}
    names = {path.relative_to(copied).as_posix() for path in copied.rglob("*.py")}
    assert not names & {"serving/registry.py", "serving/packaging.py", "inference/stage.py"}

    def bytes_of(folder: Path) -> int:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.suffix not in ("", ".pyc"))

    assert bytes_of(copied) < bytes_of(src / "abo_vqa") / 3


def test_the_copied_code_runs_without_the_project(tmp_path: Path) -> None:
    copy_code("abo_vqa.serving.served_model", tmp_path)
    code = "import abo_vqa.serving.served_model as m, abo_vqa.serving.answering as a; print(m.__file__, a.__file__)"
    environment = project_environment() | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(str(tmp_path)) == 2
