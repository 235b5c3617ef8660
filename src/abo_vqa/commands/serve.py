"""`abo-vqa serve`: serve a registered version over HTTP, by default on 127.0.0.1."""

import os
import re
import socket
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from abo_vqa.commands.project_option import Project, enter_project
from abo_vqa.common.errors import InputError

if TYPE_CHECKING:
    from mlflow import MlflowClient

DEFAULT_PORT = 5001  # MLflow's own 5000 is the UI's


EXAMPLES = """
abo-vqa serve                                    # the champion, http://127.0.0.1:5001
abo-vqa serve --model models:/abo-vqa/1 --port 5002
"""


def main(
    model: Annotated[
        str | None,
        typer.Option(metavar="URI", help="MLflow model URI. Default: models:/abo-vqa@champion.", show_default=False),
    ] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=1, max=65535, help="Port to listen on.")] = DEFAULT_PORT,
    project: Project = None,
) -> None:
    """Answer questions over HTTP with a registered model.

    Runs until Ctrl-C, with MLflow's protocol. Send POST requests to /invocations; the server prints an example.
    """
    here = enter_project(project)
    if model and (here / model).is_dir():
        model = str(here / model)
    command, environment = server(model, host, port)
    os.execve(sys.executable, command, environment)


def server(model: str | None, host: str, port: int) -> tuple[list[str], dict[str, str]]:
    """Return the server's command and environment; InputError if the registered version does not exist."""
    from abo_vqa.common.tracking.store import open_store
    from abo_vqa.serving.registry import CHAMPION, MODEL

    _require_port(host, port)
    client, _ = open_store()
    uri = model or f"models:/{MODEL}@{CHAMPION}"
    _require_version(client, uri)
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": client.tracking_uri,
        # A log has no use for bars, one per downloaded file and one of the weights.
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "TQDM_DISABLE": "1",
        "PYTHONWARNINGS": "ignore::FutureWarning",  # libraries' words to one another
        # Such a model's folder can run anything when it is loaded.
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
    serve = ["-m", "abo_server", "--model-uri", uri, "--host", host, "--port", str(port)]
    return [sys.executable, *serve], environment


def _require_port(host: str, port: int) -> None:
    """Raise InputError if the address cannot be listened on, before seconds of loading a model."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((host, port))
    except OSError as error:
        raise InputError(
            f"--host {host} --port {port}: cannot be listened on ({error.strerror or error}); give another --port"
        ) from None


def _require_version(client: "MlflowClient", uri: str) -> None:
    """Raise InputError with the known versions if `uri` is not one of them; MLflow checks other kinds of URI."""
    from mlflow.exceptions import MlflowException

    from abo_vqa.serving.registry import versions
    from abo_vqa.serving.result import ARM

    named = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", uri)
    if not named:
        return
    model, alias, version = named.groups()
    try:
        if alias:
            client.get_model_version_by_alias(model, alias)
        else:
            client.get_model_version(model, version)
    except MlflowException as error:
        there = [
            f"models:/{model}/{found.version} ({found.tags.get(ARM, 'unknown')} arm)"
            for found in versions(client, model)
        ]
        known = f"there are {', '.join(there)}; `abo-vqa register --promote` may make one the champion"
        if not there:
            known = "none is registered: run `dvc repro` or, after a `dvc pull`, `abo-vqa register`"
        raise InputError(f"{uri}: no such version ({error.message.strip()}); {known}") from None
