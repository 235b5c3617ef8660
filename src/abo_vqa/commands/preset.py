"""`abo-vqa preset`: apply a file of overrides to params.yaml."""

import io
import os
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from abo_vqa.commands.project_option import Project, enter_project, user_path
from abo_vqa.common.errors import InputError
from abo_vqa.common.project import PARAMS_FILE, project_root
from abo_vqa.model.base.devices import visible_gpus, warn_of_unusable_gpus

FOLDER = Path("presets")
FOR_GPUS = "# Needs a GPU"  # a line of such presets
NULL = "tag:yaml.org,2002:null"

EXAMPLES = """
abo-vqa preset                       # list the presets
abo-vqa preset paper                 # presets/paper.yaml
abo-vqa preset paper --device cpu    # on a machine without a GPU
abo-vqa preset my-values.yaml        # your own file
git checkout params.yaml             # undo
"""


def _names(incomplete: str) -> list[str]:
    return [path.stem for path in _presets(project_root()) if path.stem.startswith(incomplete)]


def main(
    preset: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME|FILE",
            help="Name of a preset, or a YAML file of values as in params.yaml.",
            autocompletion=_names,
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        Literal["gpu", "cpu"], typer.Option(help="cpu: apply a preset for GPUs on a machine that has none, too.")
    ] = "gpu",
    project: Project = None,
) -> None:
    """Apply a preset to params.yaml, or list the presets.

    Prints the changes. Keeps comments and order; leaves params.yaml unchanged if the result would be invalid.
    """
    here = enter_project(project)
    if preset is None:
        width = max((len(path.stem) for path in _presets()), default=0)
        for path in _presets():
            print(f"{path.stem:{width}}  {_summary(path)}")
        return
    path = _find(preset, here)
    if device == "gpu":
        _check_gpu(path)
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        overrides = YAML(typ="safe", pure=True).load(path)
    except YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(overrides, Mapping):
        raise InputError(f"{path}: must map parameters to values, as params.yaml does")
    text, changes = apply_overrides(PARAMS_FILE.read_text(encoding="utf-8"), overrides)
    temporary = PARAMS_FILE.with_suffix(".new")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, PARAMS_FILE)
    print("\n".join(changes) or "nothing to change")


def _find(preset: str, here: Path) -> Path:
    """Return the file of a preset by name, or by path relative to the folder `here` or to the project."""
    candidates = [FOLDER / f"{preset}.yaml", user_path(here, Path(preset)), Path(preset)]
    for path in candidates:
        if path.is_file():
            return path
    known = ", ".join(path.stem for path in _presets())
    raise InputError(f"{preset}: neither a preset nor a file; presets are {known or 'none'}")


def _check_gpu(path: Path) -> None:
    """Raise InputError for a preset that needs a GPU if PyTorch can use none here."""
    if FOR_GPUS not in path.read_text(encoding="utf-8"):
        return
    reason = "this machine has none"
    if visible_gpus():
        import torch  # slow, and only a machine with a GPU needs to know

        warn_of_unusable_gpus()
        if torch.cuda.is_available():
            return
        reason = "PyTorch cannot use this machine's"
    raise InputError(
        f"{path}: needs a GPU, and {reason}; to apply it all the same, add --device cpu (`abo-vqa plan` then says how "
        "long each stage takes)"
    )


def _presets(root: Path = Path()) -> list[Path]:
    return sorted((root / FOLDER).glob("*.yaml"))


def _summary(path: Path) -> str:
    """Return the first comment line of a preset."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line.lstrip("# ") for line in lines if line.startswith("#")), "")


def apply_overrides(params: str, overrides: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the text of params.yaml with the overrides applied, and a line per changed value.

    Raises ParamsError if a key is unknown or the result is invalid.
    """
    from ruamel.yaml import YAML

    from abo_vqa.common.params import check_params

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 200
    yaml.representer.add_representer(type(None), lambda dumper, _: dumper.represent_scalar(NULL, "null"))
    document = yaml.load(params)
    changes = list(_merge(document, overrides, ""))
    text = io.StringIO()
    yaml.dump(document, text)
    check_params(YAML(typ="safe", pure=True).load(text.getvalue()))
    return text.getvalue(), changes


def _merge(document: MutableMapping[str, Any], overrides: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in overrides.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and isinstance(document.get(key), MutableMapping):
            yield from _merge(document[key], value, f"{name}.")
        else:
            old = document.get(key)
            if old != value:
                yield f"{name}: {old} -> {value}"
            document[key] = value
