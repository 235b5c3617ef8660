"""`python -m abo_server --model-uri URI`: load a registered version and serve it; `abo-vqa serve` starts this."""

import argparse
import sys
from typing import Any

import mlflow
import uvicorn
from mlflow.exceptions import MlflowException

from abo_server.app import curl, make_app
from abo_server.limits import Limits
from abo_server.protocol import timed_protocol
from abo_server.work import Served


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model-uri", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    served, limits = load(given.model_uri), Limits()
    config = uvicorn.Config(
        make_app(served, limits, mlflow.__version__), given.host, given.port, http=timed_protocol(limits), ws="none",
        lifespan="off", access_log=False, log_level="warning", server_header=False, proxy_headers=False,
        timeout_keep_alive=int(limits.header_seconds), limit_concurrency=2 * limits.waiting, backlog=2 * limits.waiting,
        timeout_graceful_shutdown=10,
    )  # fmt: skip
    host = f"[{given.host}]" if ":" in given.host else given.host
    url = f"http://{host}:{given.port}"
    server = uvicorn.Server(config)
    listening = config.bind_socket()
    print(f"abo-vqa serve: {served.version} ({served.arm} arm) at {url}, described at {url}/docs. Try it:", flush=True)
    print(f"\n    {curl(url)}\n", flush=True)
    server.run([listening])


def load(uri: str) -> Served:
    """Return the model of a URI; exits with status 1 for one that this server cannot serve within its budgets."""
    try:
        model: Any = mlflow.pyfunc.load_model(uri)
    except MlflowException as error:
        print(f"abo-vqa serve: error: {uri} cannot be loaded: {error.message}", file=sys.stderr)
        raise SystemExit(1) from None
    served = model.unwrap_python_model()
    if lacking := [name for name in ("version", "arm", "group", "read", "answer") if not hasattr(served, name)]:
        print(
            f"abo-vqa serve: error: {uri} has no {lacking[0]!r}: it is no model of abo-vqa, or an older version "
            f"registered it. `abo-vqa register` registers it anew; `mlflow models serve` serves it without budgets",
            file=sys.stderr,
        )
        raise SystemExit(1)
    return served


if __name__ == "__main__":
    main()
