"""`abo-vqa export`: a folder of stock files that answers as the trained model, and nothing half-written."""

import base64
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from peft import PeftModel
from ruamel.yaml import YAML
from transformers import AutoModelForImageTextToText, AutoProcessor
from typer.testing import CliRunner, Result

from abo_vqa.commands.app import app
from abo_vqa.common.layout import adapter_folder
from abo_vqa.common.params import read_params
from abo_vqa.common.params.model import PAPER_PROMPT
from abo_vqa.common.storage import decode_image
from abo_vqa.export import export, stock
from abo_vqa.model.adapters import save_adapter
from abo_vqa.model.base.prompts import user_turn
from abo_vqa.serving.answering import Answerer
from adapted import adapted
from paths import ROOT
from serving import transformers_serve

Images = dict[str, bytes]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, images: Images, rows: list[dict[str, Any]]) -> Path:
    """A project after a training over the demo's base."""
    folder = tmp_path_factory.mktemp("project")
    values = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
    values["model"]["base"] = str(ROOT / "models/demo")
    YAML().dump(values, folder / "params.yaml")
    (folder / "tables/splits").mkdir(parents=True)
    questions = pd.DataFrame([row | {"question_type": "color", "matched_options": row["options"]} for row in rows])
    questions.to_parquet(folder / "tables/splits/test.parquet")
    sample = [{"image_id": name, "image": {"bytes": data, "path": None}} for name, data in images.items()]
    pd.DataFrame(sample).to_parquet(folder / "tables/sample.parquet")
    params = read_params(folder / "params.yaml")
    card = "---\nlibrary_name: peft\n---\n# Adapter\n\nTrained on 9 questions.\n"
    save_adapter(adapted(params, 0, spread=0.2), folder / adapter_folder("options-1"), params.model.base, card)
    return folder


@pytest.fixture
def project(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return made


@pytest.fixture(autouse=True)
def keep_logging() -> Iterator[None]:
    """The command switches the libraries' messages off for its process."""
    import logging

    yield
    logging.disable(logging.NOTSET)


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments)], prog_name="abo-vqa")


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_merged_model_answers_as_the_trained_one_and_its_card_says_how_far(
    project: Path, tmp_path: Path, images: Images
) -> None:
    done = invoke("options", "--to", tmp_path / "to", "--questions", 4)
    assert done.exit_code == 0, done.output
    assert leftovers(tmp_path) == ["to"]
    card = (tmp_path / "to/README.md").read_text()
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert all(line in card for line in table), "what is printed is on the card"
    quantized, unmerged = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table[2:])
    assert quantized[:2] == ["4-bit base + adapter", "8"] and unmerged[:3] == [
        "unquantized base + adapter", "8", "100.0 %",
    ]  # fmt: skip
    assert float(unmerged[-1]) < 1e-4 < float(quantized[-1]), "merging is exact, quantization is not"
    assert "so answers may differ" in card and "Trained on 9 questions." in card and "Asked 4 test questions" in card
    assert "base_model:" not in card, "a folder is no id of a hub"

    # By the stock classes alone, against the project's own answer from the unquantized base.
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "to").eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "to")
    params = read_params()
    folders = {"options-1": adapter_folder("options-1")}
    ours = Answerer(export.unquantized(params.model), folders, 8, "auto")
    question, options = "What color is it?", ("red", "blue", "wood")
    text = processor.apply_chat_template(
        user_turn(PAPER_PROMPT.text(question, options)), tokenize=False, add_generation_prompt=True
    )
    for image in list(images.values())[:3]:
        inputs = processor(images=[decode_image(image)], text=[text], return_tensors="pt", add_special_tokens=False)
        with torch.no_grad():
            said = model.generate(**inputs, max_new_tokens=8)[0, inputs["input_ids"].shape[1] :]
        expected = ours.answer(image, question, options, "options-1").answer
        assert processor.decode(said, skip_special_tokens=True).strip() == expected


def test_an_adapter_alone_names_its_base(project: Path, tmp_path: Path) -> None:
    done = invoke("options-1", "--to", tmp_path / "to", "--adapter-only")
    assert done.exit_code == 0, done.output
    assert sorted(leftovers(tmp_path / "to")) == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    settings = json.loads((tmp_path / "to/adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(ROOT / "models/demo")
    weights = "adapter_model.safetensors"
    assert (tmp_path / "to" / weights).read_bytes() == (adapter_folder("options-1") / weights).read_bytes()
    assert "--max-lora-rank 16" in (tmp_path / "to/README.md").read_text()
    base = AutoModelForImageTextToText.from_pretrained(settings["base_model_name_or_path"])
    assert PeftModel.from_pretrained(base, tmp_path / "to").peft_config["default"].r == 16


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("optoins", "optoins: no such model; params.yaml has standard, options, standard-1, "),
        ("base", "base: has no adapter to export"),
        ("standard-2", "models/adapters/standard-2/adapter_config.json: not found; `dvc repro train@standard-2` "),
    ],
)
def test_a_wrong_model_is_named_and_nothing_written(project: Path, tmp_path: Path, name: str, says: str) -> None:
    done = invoke(name, "--to", tmp_path / "to")
    assert (done.exit_code, done.stdout, leftovers(tmp_path)) == (1, "", [])
    assert done.stderr.startswith(f"abo-vqa export: error: {says}")


def test_only_an_earlier_export_is_replaced_and_only_by_force(project: Path, tmp_path: Path) -> None:
    target = tmp_path / "to"
    target.mkdir()
    arguments = ("options-1", "--to", target, "--adapter-only")
    assert invoke(*arguments).exit_code == 0, "an empty folder"
    (target / "old").touch()
    refused = invoke(*arguments)
    assert (refused.exit_code, "--force to replace it" in refused.stderr) == (1, True)
    assert invoke(*arguments, "--force").exit_code == 0
    assert "old" not in leftovers(target)
    for mine in (tmp_path, project):
        refused = invoke("options-1", "--to", mine, "--adapter-only", "--force")
        assert (refused.exit_code, "is no exported model" in refused.stderr) == (1, True)
    assert leftovers(tmp_path) == ["to"]


def test_an_export_that_answers_differently_is_not_written(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = stock.save_stock

    def wrong(model: Any, *rest: Any) -> None:
        with torch.no_grad():
            model.get_input_embeddings().weight.normal_()
        save(model, *rest)

    monkeypatch.setattr(stock, "save_stock", wrong)
    (tmp_path / "to").mkdir()
    done = invoke("options-1", "--to", tmp_path / "to", "--questions", 2)
    assert (done.exit_code, leftovers(tmp_path), leftovers(tmp_path / "to")) == (1, ["to"], [])
    assert "unlike the unquantized base with its adapter" in done.stderr


@pytest.mark.slow
def test_a_stock_server_answers_from_an_export(project: Path, tmp_path: Path, images: Images) -> None:
    assert invoke("options-1", "--to", tmp_path / "to", "--questions", 2).exit_code == 0
    image, question, options = images["image-0"], "What color is it?", ("red", "blue", "wood")
    url = f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"
    content = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": PAPER_PROMPT.text(question, options)},
    ]
    body = {"model": str(tmp_path / "to"), "messages": [{"role": "user", "content": content}], "max_tokens": 8}
    with transformers_serve(tmp_path / "to", tmp_path / "log") as address:
        request = urllib.request.Request(
            f"{address}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=120) as reply:
            [choice] = json.load(reply)["choices"]
    params, folders = read_params(), {"options-1": adapter_folder("options-1")}
    ours = Answerer(export.unquantized(params.model), folders, 8, "auto")
    assert choice["message"]["content"].strip() == ours.answer(image, question, options, "options-1").answer
