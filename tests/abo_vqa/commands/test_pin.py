"""Pins of Hugging Face models: written by the command, read wherever a base is named."""

import json
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from typer.testing import CliRunner

from abo_vqa.commands import pin
from abo_vqa.commands.app import app
from abo_vqa.common.digests import model_identity
from abo_vqa.common.errors import InputError
from abo_vqa.common.project import model_source

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


def test_a_given_commit_is_written_without_the_network(project):
    said = CliRunner().invoke(app, ["pin", "Intel/llava-gemma-2b", "--commit", COMMIT])
    assert said.exit_code == 0, said.output
    path = project / "models/hub/llava-gemma-2b.json"
    assert json.loads(path.read_text()) == {"id": "Intel/llava-gemma-2b", "commit": COMMIT}
    assert "-S model.base=models/hub/llava-gemma-2b.json" in said.output
    assert model_source("models/hub/llava-gemma-2b.json", "model.base") == ("Intel/llava-gemma-2b", COMMIT)
    assert model_identity("models/hub/llava-gemma-2b.json", "model.base") == f"Intel/llava-gemma-2b@{COMMIT}"


def test_the_newest_commit_is_looked_up(project, monkeypatch):
    monkeypatch.setattr(HfApi, "model_info", lambda self, name, timeout: type("Info", (), {"sha": COMMIT}))
    assert pin.newest("Intel/llava-gemma-2b") == COMMIT


def test_a_hub_that_cannot_be_reached_is_said_and_an_old_pin_stays(project, monkeypatch):
    def gone(self, name, timeout):
        raise ConnectionError("no route to host")

    CliRunner().invoke(app, ["pin", "Intel/llava-gemma-2b", "--commit", COMMIT])
    monkeypatch.setattr(HfApi, "model_info", gone)
    said = CliRunner().invoke(app, ["pin", "Intel/llava-gemma-2b"])
    assert said.exit_code == 1
    assert "cannot look up its commit (no route to host); give one with --commit" in said.output
    assert json.loads((project / "models/hub/llava-gemma-2b.json").read_text())["commit"] == COMMIT


@pytest.mark.parametrize("model", ["llava-gemma-2b", "a/b/c", "/x", "x/"])
def test_another_form_than_owner_and_name_is_refused(project, model):
    said = CliRunner().invoke(app, ["pin", model, "--commit", COMMIT])
    assert said.exit_code == 1
    assert "must be OWNER/NAME" in said.output


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"id": "Intel/llava-gemma-2b", "commit": null}', "has no commit yet; run `abo-vqa pin Intel/llava-gemma-2b`"),
        ('{"id": "Intel/llava-gemma-2b"}', "is not a pin file"),
        ("[]", "is not a pin file"),
        ("not JSON", "is not a pin file"),
        (None, "is not a pin file"),
    ],
)
def test_a_file_that_is_no_pin_file_is_refused_with_the_parameter(project, text, says):
    if text is not None:
        Path("pin.json").write_text(text)
    with pytest.raises(InputError, match=r"model\.base: pin\.json ") as error:
        model_source("pin.json", "model.base")
    assert says in str(error.value)


def test_a_folder_or_an_id_is_what_it_is(project):
    assert model_source("models/demo", "model.base") == ("models/demo", None)
    assert model_source("Intel/llava-gemma-2b", "model.base") == ("Intel/llava-gemma-2b", None)


def test_the_models_of_the_committed_parameters_are_there(root):
    for path in root.glob("models/hub/*.json"):
        assert json.loads(path.read_text()).keys() == {"id", "commit"}
    for text in ((root / "params.yaml").read_text(), (root / "presets/paper.yaml").read_text()):
        named = [word for line in text.splitlines() for word in line.split() if word.startswith("models/hub/")]
        assert named
        assert all((root / name).is_file() for name in named)
