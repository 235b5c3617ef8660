"""Models that people bring run no code of theirs: neither by their weights, nor by their configuration."""

import ast
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import read_params
from abo_vqa.model.adapters import attach_adapters
from abo_vqa.model.base.loading import load_base, load_config
from adapted import adapted
from paths import ROOT


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self._path}'",)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that the payload writes; it does so where somebody unpickles it."""
    mark = tmp_path / "taken over"
    pickle.loads(pickle.dumps(Payload(mark)))
    assert mark.exists()
    mark.unlink()
    return mark


def params_with(base: Path) -> Any:
    params = read_params(ROOT / "params.yaml")
    return params.model.model_copy(update={"base": str(base)})


def test_an_adapters_pickle_runs_nothing(tmp_path: Path, mark: Path) -> None:
    model = adapted(read_params(ROOT / "params.yaml"), 0, 0.02)
    folder = tmp_path / "adapter"
    model.save_pretrained(folder)
    (folder / "adapter_model.safetensors").unlink()
    torch.save({"weights": Payload(mark)}, folder / "adapter_model.bin")
    with pytest.raises((InputError, pickle.UnpicklingError, OSError)):
        attach_adapters(load_base(params_with(ROOT / "models/demo")), {"a": folder})
    assert not mark.exists()


def test_a_base_models_pickle_runs_nothing(tmp_path: Path, mark: Path) -> None:
    folder = shutil.copytree(ROOT / "models/demo", tmp_path / "base")
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    torch.save({"weights": Payload(mark)}, folder / "pytorch_model.bin")
    with pytest.raises((InputError, pickle.UnpicklingError, OSError)):
        load_base(params_with(folder))
    assert not mark.exists()


def test_a_configurations_code_is_not_run(tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shutil.copytree(ROOT / "models/demo", tmp_path / "base")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(f"open({str(mark)!r}, 'w')\nclass OwnConfig: pass\n")
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # transformers asks on a terminal
    with pytest.raises(InputError, match="it brings code of its own, which is never run"):
        load_config(params_with(folder))
    assert not mark.exists()


UNSAFE = {"read_pickle", "unsafe_load", "full_load"}


def risks(tree: ast.AST) -> list[str]:
    """Return the calls that may run what a file holds: pickles, YAML with tags, a hub's code."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [
                name
                for name in names
                if name.partition(".")[0] in ("pickle", "cloudpickle", "joblib", "dill", "shelve")
            ]
        if not isinstance(node, ast.Call):
            continue
        name, given = ast.unparse(node.func), {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        last = name.rpartition(".")[2]
        from_hub = last == "from_pretrained" and name.startswith("Auto")
        if (
            last in UNSAFE
            or (name == "torch.load" and given.get("weights_only") != "True")
            or (name in ("np.load", "numpy.load") and given.get("allow_pickle") == "True")
            or (name == "yaml.load" and "Loader" in given)
            or (name == "YAML" and given.get("typ") == "'unsafe'")
            or (from_hub and given.get("trust_remote_code") != "False")
        ):
            found.append(ast.unparse(node))
    return found


def test_no_code_of_ours_opens_what_may_run() -> None:
    found = {path.name: risks(ast.parse(path.read_text())) for path in (ROOT / "src").rglob("*.py")}
    # Tasks and results between our own processes, which Ray sends pickled in any case.
    assert {name: calls for name, calls in found.items() if calls} == {"cluster.py": ["pickle"]}


@pytest.mark.parametrize(
    "code",
    ["import pickle", "from joblib import load", "torch.load(a)", "np.load(a, allow_pickle=True)", "pd.read_pickle(a)",
     "YAML(typ='unsafe')", "AutoModel.from_pretrained(a)", "AutoModel.from_pretrained(a, trust_remote_code=True)"],
)  # fmt: skip
def test_what_may_run_is_seen(code: str) -> None:
    assert risks(ast.parse(code))
