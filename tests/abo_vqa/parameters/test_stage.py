"""The first stage: what it refuses, with what advice, and how little it imports for that."""

import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import check_params
from abo_vqa.common.params.group import ParamsError
from abo_vqa.common.params.names import UNSET, optimizers, schedules
from abo_vqa.parameters.layers import check_targets, layers_of
from parameters import changed


def run_stage(folder: Path, root: Path) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    code = (
        "import os, runpy, sys\n"
        "end = os._exit\n"
        "def show(status):\n"
        "    print(*{'torch', 'transformers', 'peft', 'pandas', 'mlflow'} & set(sys.modules), flush=True)\n"
        "    end(status)\n"
        "os._exit = show\n"
        "runpy.run_module('abo_vqa.parameters.stage', run_name='__main__')"
    )
    environment["PYTHONPATH"] = str(root / "src")
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def values(root: Path) -> dict[str, Any]:
    return YAML(typ="safe", pure=True).load(root / "params.yaml")


@pytest.fixture
def project(root: Path, tmp_path: Path) -> Path:
    shutil.copy(root / "params.yaml", tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models/demo").symlink_to(root / "models/demo")
    return tmp_path


def test_it_writes_the_same_for_all_parameters_and_imports_nothing_heavy(root: Path, project: Path) -> None:
    written = []
    for seed in (1, 2):
        text = (project / "params.yaml").read_text()
        (project / "params.yaml").write_text(text.replace("seed: 20261122", f"seed: {seed}"))
        done = run_stage(project, root)
        assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
        written.append((project / "tables/parameters.txt").read_bytes())
    assert written[0] == written[1] != b""


def test_what_it_refuses_says_how_to_go_back(root: Path, project: Path) -> None:
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("q_proj, k_proj", "q_proj, k_prj"))
    done = run_stage(project, root)
    assert done.returncode == 1
    assert "train.lora.targets: models/demo has no layer k_prj, did you mean k_proj?" in done.stderr
    assert "`git checkout params.yaml` goes back" in done.stderr and "Traceback" not in done.stderr
    assert not (project / "tables/parameters.txt").exists()


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("train.optimizer", "adam_torch", "train.optimizer: no such optimizer; did you mean adamw_torch"),
        ("train.schedule", "cosine_decay", "train.schedule: no such schedule; did you mean cosine"),
        ("train.schedule", "zigzag", "train.schedule: no such schedule; known: linear, cosine"),
        ("train.learning_rte", 1.0, "train.learning_rte: unknown parameter; did you mean learning_rate?"),
        ("arms.options.option_first", 1.0, "arms.options.option_first: unknown parameter; did you mean options_first?"),
        ("evaluate.conditions.open.optoins", "none", "did you mean options?"),
        ("evalute", {}, "evalute: unknown parameter; did you mean evaluate?"),
        ("train.lora.zzz", 1, "train.lora.zzz: unknown parameter; remove it or correct its name"),
    ],
)
def test_a_near_name_is_suggested(values: dict[str, Any], key: str, value: Any, says: str) -> None:
    with pytest.raises(ParamsError) as error:
        check_params(changed(values, key, value))
    assert says in str(error.value)


def test_the_names_are_those_of_transformers() -> None:
    from transformers.optimization import get_scheduler
    from transformers.trainer_utils import SchedulerType
    from transformers.training_args import OptimizerNames

    assert optimizers() == ["auto", *(one.value for one in OptimizerNames)]
    assert {*schedules(), *UNSET} == {one.value for one in SchedulerType}
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    for name in schedules():
        get_scheduler(name, optimizer, num_warmup_steps=1, num_training_steps=9)


def test_layers_are_read_of_one_file_of_several_or_of_none(root: Path, tmp_path: Path) -> None:
    assert {"q_proj", "down_proj"} <= {layer.rpartition(".")[2] for layer in layers_of(str(root / "models/demo"))}
    weights = {"__metadata__": {}, "model.layers.0.wide.weight": {}, "model.positions": {}}
    header = json.dumps(weights).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert layers_of(str(tmp_path)) == {"model.layers.0.wide"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a.narrow.weight": "x"}}))
    assert layers_of(str(tmp_path)) == {"a.narrow"}
    with pytest.raises(InputError, match=r"model\.base: there is no folder"):
        check_targets(["anything"], str(tmp_path.parent / "empty"))
    with pytest.raises(ParamsError, match=r"has no layer arrow, did you mean narrow\?; it has narrow"):
        check_targets(["narrow", "arrow"], str(tmp_path))
