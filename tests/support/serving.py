"""Servers on loopback for tests: a free port, how long one takes to answer, and the stock server of transformers."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def free_port() -> int:
    """Return a port of loopback that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(process: "subprocess.Popen[Any]", url: str, seconds: float = 180) -> None:
    """Return as soon as the URL answers; fail if the process ends or takes too long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert process.poll() is None, f"the server ended with {process.returncode}"
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(f"{url} did not answer in {seconds} s")


@contextmanager
def transformers_serve(model: Path, log: Path) -> Iterator[str]:
    """Serve a model's folder on the CPU with `transformers serve`; yield the address."""
    port = free_port()
    command = [Path(sys.executable).with_name("transformers"), "serve", model, "--device", "cpu"]
    with log.open("wb") as out:
        server = subprocess.Popen(
            [*map(str, command), "--host", "127.0.0.1", "--port", str(port)], stdout=out, stderr=out,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
    try:
        wait_for(server, f"http://127.0.0.1:{port}/health", 600)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)
