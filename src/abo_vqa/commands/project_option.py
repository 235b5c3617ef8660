"""The option --project, and entering the project's folder."""

import os
from pathlib import Path
from typing import Annotated

import typer

from abo_vqa.common.errors import InputError
from abo_vqa.common.project import PARAMS_FILE, project_root

Project = Annotated[
    Path | None,
    typer.Option(
        "--project",
        metavar="DIR",
        help="The project's folder. Default: $DVC_ROOT, else the nearest parent folder with a params.yaml.",
        show_default=False,
    ),
]


def enter_project(given: Path | None) -> Path:
    """Change into the project's folder and return the user's working folder.

    Raises InputError if `given`, or by default the working folder and all its parents, has no params.yaml.
    """
    here = Path.cwd()
    if given is None:
        root = project_root()
        wrong = f"{root}: not in a project, no {PARAMS_FILE} here or above; change into a project or give --project DIR"
    else:
        root = given
        wrong = f"--project {given}: no {PARAMS_FILE} in it; give the folder of a project"
    if not (root / PARAMS_FILE).is_file():
        raise InputError(wrong)
    if given is not None:
        # For the MLflow store, DVC_ROOT takes precedence over the working folder.
        os.environ.pop("DVC_ROOT", None)
    os.chdir(root)
    return here


def user_path(here: Path, path: Path) -> Path:
    """Return a path given in the folder `here` for use in the project; unchanged if that is the project."""
    return path if Path.cwd() == here else here / path
