"""`abo-vqa pin`: record the commit of a Hugging Face model that the project uses."""

import json
from pathlib import Path
from typing import Annotated

import typer

from abo_vqa.commands.project_option import Project, enter_project
from abo_vqa.common.errors import InputError

EXAMPLES = """
abo-vqa pin Intel/llava-gemma-2b                    # its newest commit
abo-vqa pin Intel/llava-gemma-2b --commit 1a2b3c... # a given one; needs no network
"""
FOLDER = Path("models/hub")


def main(
    model: Annotated[str, typer.Argument(metavar="ID", help="Model on the Hugging Face hub, OWNER/NAME.")],
    commit: Annotated[
        str | None, typer.Option(metavar="COMMIT", help="Commit to use instead of the newest.", show_default=False)
    ] = None,
    project: Project = None,
) -> None:
    """Pin a Hugging Face model to a commit that DVC tracks.

    Writes models/hub/NAME.json with the id and the commit; set model.base or generate.vlm.base to that file. Pinning
    again moves to the newest commit, and `dvc repro` then reruns what depends on the model.
    """
    enter_project(project)
    owner, _, name = model.partition("/")
    if not owner or not name or "/" in name:
        raise InputError(f"{model}: must be OWNER/NAME, as in Intel/llava-gemma-2b")
    path = FOLDER / f"{name}.json"
    pin = {"id": model, "commit": commit or newest(model)}
    from abo_vqa.common.storage import replacing

    with replacing(path) as temporary:
        temporary.write_text(json.dumps(pin, indent=2) + "\n", encoding="utf-8")
    print(f"{path}: {path.read_text(encoding='utf-8')}\nUse it: dvc exp run -S model.base={path}")


def newest(model: str) -> str:
    """Return the newest commit of a model on the hub; InputError if the model or the hub is not found."""
    # Imported here: the import takes a second, which help and wrong arguments do not need.
    from huggingface_hub import HfApi

    try:
        return str(HfApi().model_info(model, timeout=20).sha)
    except (
        Exception
    ) as error:  # the HTTP library under huggingface_hub, and so its exceptions, changes with its version
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{model}: cannot look up its commit ({reason}); give one with --commit") from None
