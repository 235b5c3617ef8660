"""Serve a registered version over HTTP with `mlflow models serve`, on this machine's loopback.

PYTHONPATH=src python -m abo_vqa.commands.serve [--model models:/abo-vqa/2] [--port 5001]
"""

import argparse
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from abo_vqa.common.errors import InputError, readable_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

DEFAULT_PORT = 5001  # MLflow's own 5000 is the UI's


def main() -> None:
    """Find the version, then become MLflow's server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="MLflow's name of a model (default: models:/abo-vqa@champion)")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    args = parser.parse_args()
    with readable_errors("serve"):
        command, environment = server(args.model, args.host, args.port)
    os.execve(sys.executable, command, environment)


def server(model: str | None, host: str, port: int) -> tuple[list[str], dict[str, str]]:
    """Return the server's command and its environment; InputError if the registered version is not there."""
    from abo_vqa.common.tracking.store import open_store
    from abo_vqa.serving.registry import CHAMPION, MODEL

    client, _ = open_store()
    uri = model or f"models:/{MODEL}@{CHAMPION}"
    _require_version(client, uri)
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": client.tracking_uri,
        # A bar for every file that is fetched, otherwise.
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        # The scoring server's own command is looked up there.
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
    }
    serve = ["-m", "mlflow", "models", "serve", "--model-uri", uri, "--host", host, "--port", str(port)]
    return [sys.executable, *serve, "--env-manager", "local"], environment


def _require_version(client: "MlflowClient", uri: str) -> None:
    """Raise InputError naming the versions that there are if `uri` is none of them; other kinds of URI are MLflow's."""
    from mlflow.exceptions import MlflowException

    from abo_vqa.serving.registry import ARM, versions

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
        register = "run `dvc repro` or, after a `dvc pull`, `PYTHONPATH=src python -m abo_vqa.serving.registry`"
        known = f"there are {', '.join(there)}" if there else f"none is registered: {register}"
        raise InputError(f"{uri}: no such version ({error.message.strip()}); {known}") from None


if __name__ == "__main__":
    main()
