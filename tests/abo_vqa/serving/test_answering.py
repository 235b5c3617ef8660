"""One question at a time is answered as the evaluation answers all of them, and nothing broken gets that far."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params
from abo_vqa.common.params.measure import ConditionParams
from abo_vqa.common.params.model import PAPER_PROMPT, PromptParams
from abo_vqa.inference.ask import BLANK, ask_all, blank_image
from abo_vqa.inference.conditions import Distractors, ask_under
from abo_vqa.inference.prompt_tree.scorer import Scorer
from abo_vqa.metrics.answers import score_answers
from abo_vqa.model.adapters import attach_adapters
from abo_vqa.model.base.loading import load_base, load_processor
from abo_vqa.model.features import ImageFeatures
from abo_vqa.model.shared_image import ImageCollator
from abo_vqa.serving.answering import Answerer, Question
from abo_vqa.serving.checks import check_image, check_options, check_question, read_image
from adapted import NoScorer, adapted
from paths import ROOT
from pictures import REFUSED, encoded

NEW, PER_PASS = 8, 512
CONDITIONS = {"open": ConditionParams(options="none"), "options": ConditionParams()}


@pytest.fixture(scope="module")
def params(root: Path) -> Params:
    """The committed parameters over the demo's base, wherever the working directory is."""
    from abo_vqa.common.params import read_params

    found = read_params(root / "params.yaml")
    return found.model_copy(update={"model": found.model.model_copy(update={"base": str(root / "models/demo")})})


@pytest.fixture(scope="module")
def adapters(params: Params, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {}
    for seed, name in enumerate(("standard", "options")):
        folders[name] = tmp_path_factory.mktemp("adapters") / name
        adapted(params, seed, spread=0.2).save_pretrained(folders[name])
    return folders


@pytest.fixture(scope="module")
def answerer(params: Params, adapters: dict[str, Path]) -> Answerer:
    return Answerer(params.model, adapters, NEW, PER_PASS)


@pytest.mark.parametrize("name", ["base", "standard", "options"])
def test_answers_and_probabilities_are_those_of_the_evaluation(
    name: str, params: Params, answerer: Answerer, adapters: dict[str, Path], images: dict[str, bytes],
    rows: list[dict[str, Any]], tmp_path: Path,
) -> None:  # fmt: skip
    # As the stage evaluate does it: ready features, all conditions of an image in one go.
    rows = [row | {"question_type": "color"} for row in rows]
    asked = {c: ask_under(rows, c, shown, Distractors(rows), 0) for c, shown in CONDITIONS.items()}
    model, processor = load_base(params.model), load_processor(params.model)
    known = images | {BLANK: blank_image()}
    collator = ImageCollator(processor, known, ImageFeatures(tmp_path, known, model, processor), 1024)
    tuned = model if name == "base" else attach_adapters(model, {name: adapters[name]})
    answers = ask_all(Scorer(tuned, collator, NEW, PER_PASS), PAPER_PROMPT, rows, asked, name)
    table = score_answers(answers, NoScorer())

    texts = {row["qa_id"]: row["question"] for row in rows}
    said = []
    for row in table.to_dict("records"):
        options = list(row["options"]) if row["shown"] else None
        reply = answerer.answer(images[row["image_id"]], texts[row["qa_id"]], options, name)
        assert [reply.answer] == list(row["generated"])
        if options is None:
            assert reply.probabilities is None
        else:
            assert reply.probabilities is not None and list(reply.probabilities) == options
            assert list(reply.probabilities.values()) == pytest.approx(list(row["probabilities"]), abs=2e-5)
            assert sum(reply.probabilities.values()) == pytest.approx(1)
        said.append(reply.answer)
    assert len(said) == 32 and len(set(said)) > 2


def test_models_over_one_base_do_not_leak_into_each_other(answerer: Answerer, images: dict[str, bytes]) -> None:
    options = ["red", "blue", "wood", "3"]

    def ask(name: str) -> Any:
        return answerer.answer(images["image-0"], "What color is it?", options, name).probabilities

    first = {name: ask(name) for name in answerer.models}
    assert {name: ask(name) for name in reversed(answerer.models)} == first
    assert len({str(found) for found in first.values()}) == 3


def test_a_model_is_asked_with_its_own_prompt(
    params: Params, adapters: dict[str, Path], answerer: Answerer, images: dict[str, bytes]
) -> None:
    own = PromptParams(open="{question}", options="{options}? {question}")
    other = Answerer(params.model, adapters, NEW, PER_PASS, {"options": own})

    def ask(asked: Answerer, name: str) -> Any:
        return asked.answer(images["image-0"], "What color is it?", ["red", "blue"], name).probabilities

    assert ask(other, "options") != ask(answerer, "options")
    assert ask(other, "standard") == ask(answerer, "standard")


def test_several_questions_about_an_image_are_answered_as_one_by_one(
    answerer: Answerer, images: dict[str, bytes]
) -> None:
    questions = [Question("What color is it?", ("red", "blue")), Question("How many are there?"), Question("What?")]
    together = answerer.answer_checked(images["image-1"], questions, "options")
    for question, reply in zip(questions, together, strict=True):
        alone = answerer.answer(images["image-1"], question.text, question.options, "options")
        assert alone.answer == reply.answer
        if alone.probabilities:
            assert reply.probabilities == pytest.approx(alone.probabilities, abs=1e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_image_is_refused(name: str) -> None:
    data, says = REFUSED[name]
    with pytest.raises(InputError, match=re.escape(says)):
        check_image(data)


def test_a_bad_image_is_refused_by_the_answerer_too(answerer: Answerer) -> None:
    with pytest.raises(InputError, match="no JPEG"):
        answerer.answer(b"nothing", "What color is it?", None)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_every_form_is_read(form: str, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(encoded(form, (1000, 11)))
    assert read_image(path) == encoded(form, (1000, 11))


def test_every_cut_of_an_image_is_refused_or_whole_and_never_worse(images: dict[str, bytes]) -> None:
    refused = 0
    for data in (encoded("PNG"), encoded("GIF"), encoded("WEBP"), encoded("BMP"), images["image-0"]):
        for end in range(0, len(data), 7):
            for broken in (data[:end], data[:end] + b"\xff\x00\xd9" + data[end + 3 :]):
                try:
                    check_image(broken)
                except InputError:
                    refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    ("question", "options", "says"),
    [
        ("", None, "question: is empty"),
        ("  \n", None, "question: is empty"),
        (None, None, "question: is missing"),
        (7, None, "question: must be a text, not int"),
        ("?" * 1001, None, "question: 1001 characters, more than 1000"),
        ("What \ud800?", None, "question: contains half a character"),
        ("What?", [], "options: 0 given, must be 2 to 26"),
        ("What?", ["red"], "options: 1 given, must be 2 to 26"),
        ("What?", [str(number) for number in range(100)], "options: 100 given, must be 2 to 26"),
        ("What?", ["red", "blue", "Red "], "option 3: 'Red ' is a duplicate"),
        ("What?", ["red", ""], "option 2: is empty"),
        ("What?", ["red", None], "option 2: is missing"),
        ("What?", ["red", 5], "option 2: must be a text, not int"),
        ("What?", ["red", "b" * 201], "option 2: 201 characters, more than 200"),
        ("What?", "red,blue", "options: must be a list of texts, not str"),
        ("What?", 4, "options: must be a list of texts, not int"),
    ],
)
def test_a_bad_question_is_refused(question: Any, options: Any, says: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(says)}"):
        check_question(question)
        check_options(options)


@pytest.mark.parametrize(
    ("question", "options", "says"),
    [
        ("What is in this <image>?", None, "contains <image>"),
        ("What?", ["red", "<eos>"], "contains <eos>"),
        ("one two " * 120, [f"{number} " + "long option " * 15 for number in range(26)], "model's context of 1024"),
    ],
)
def test_what_the_model_cannot_take_is_refused(
    answerer: Answerer, images: dict[str, bytes], question: str, options: Any, says: str
) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        answerer.answer(images["image-0"], question, options)
    assert answerer.answer(images["image-0"], "What color is it?", None).answer


def test_a_missing_adapter_is_named_with_what_makes_it(params: Params, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"nowhere: no adapter found, .* is missing; `dvc repro train@options` .* `dvc pull"
    ):
        Answerer(params.model, {"options": tmp_path / "nowhere"}, NEW, PER_PASS)


@pytest.fixture
def project(root: Path, adapters: dict[str, Path], images: dict[str, bytes], tmp_path: Path) -> Path:
    """A folder with parameters that name the demo's base, both adapters, and an image."""
    values = YAML(typ="safe", pure=True).load(root / "params.yaml")
    values["model"]["base"] = str(root / "models/demo")
    values["train"]["replicates"] = [1]
    for name, folder in adapters.items():
        shutil.copytree(folder, tmp_path / "models/adapters" / f"{name}-1")
    YAML().dump(values, tmp_path / "params.yaml")
    (tmp_path / "chair.jpg").write_bytes(images["image-0"])
    return tmp_path


def predict(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "abo_vqa.commands.app", "predict", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def cells(table: str) -> list[list[str]]:
    """The cells of a Markdown table, without the rule below its head."""
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    return [head, *rows]


def test_the_command_prints_base_and_arms_side_by_side(
    project: Path, answerer: Answerer, images: dict[str, bytes]
) -> None:
    options = ["red", "black, white", "3"]
    done = predict(project, "chair.jpg", "What color is it?", "--options", "red", "--option", "black, white",
                   "--options", "3")  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    head, *lines = cells(done.stdout)
    assert head == ["model", "answer", *options]
    assert [line[0] for line in lines] == ["base", "standard-1", "options-1"]
    for name, said, *shares in lines:
        reply = answerer.answer(images["image-0"], "What color is it?", options, name.removesuffix("-1"))
        assert said == reply.answer
        assert shares == [f"{100 * share:.1f} %" for share in (reply.probabilities or {}).values()]


def test_the_command_asks_openly_and_one_model(project: Path, answerer: Answerer, images: dict[str, bytes]) -> None:
    done = predict(project, "chair.jpg", "What color is it?", "--model", "options")
    said = answerer.answer(images["image-0"], "What color is it?", None, "options").answer
    assert cells(done.stdout) == [["model", "answer"], ["options-1", said]]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.jpg", "What?"], "nowhere.jpg: no such file"),
        (["params.yaml", "What?"], "params.yaml: "),
        (["chair.jpg", ""], "question: is empty"),
        (["chair.jpg", "What?", "--options", "red"], "options: 1 given, must be 2 to 26"),
        (["chair.jpg", "What?", "--options", "red,red"], "option 2: 'red' is a duplicate"),
        (["chair.jpg", "What?", "--model", "rival"], "--model rival: no such model; params.yaml has base, standard"),
    ],
)
def test_the_command_reports_a_mistake_before_it_imports_torch(project: Path, arguments: list[str], says: str) -> None:
    code = (
        "import sys; from abo_vqa.commands.app import main\n"
        "try: main()\n"
        "except SystemExit as done: sys.exit(9 if 'torch' in sys.modules else done.code)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", code, "predict", *arguments]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"abo-vqa predict: error: {says}")
