"""The server around a model that answers at once, in this process, for tests with real sockets."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from abo_server.app import make_app
from abo_server.limits import Limits
from abo_server.protocol import timed_protocol
from abo_vqa.common.errors import InputError
from abo_vqa.serving.checks import check_options, check_question
from serving import free_port


@dataclass(frozen=True)
class Asked:
    image: str
    pixels: int
    places: tuple[int, ...]
    questions: tuple[str, ...]


class Echo:
    """Answers a question with itself. An image `slow` takes a while to read, `broken` is refused, `bug` fails."""

    version, arm = "abo-vqa/1/0123456789ab", "options"

    def __init__(self) -> None:
        self.read_images: list[str] = []
        self.answered: list[str] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    def group(self, rows: list[dict[Any, Any]]) -> list[Asked]:
        if not 1 <= len(rows) <= 256:
            raise MlflowException(f"{len(rows)} rows given", error_code=INVALID_PARAMETER_VALUE)
        for place, row in enumerate(rows):
            try:
                check_question(row.get("question"))
                check_options(row.get("options"))
                if set(row) - {"image", "question", "options"} or not isinstance(row.get("image"), str):
                    raise InputError("wrong")
            except InputError as error:
                raise MlflowException(f"row {place}: {error}", error_code=INVALID_PARAMETER_VALUE) from None
        images = dict.fromkeys(row["image"] for row in rows)
        places = {image: tuple(p for p, row in enumerate(rows) if row["image"] == image) for image in images}
        return [
            Asked(image, 50_000_000 if image == "slow" else 100, of, tuple(rows[place]["question"] for place in of))
            for image, of in places.items()
        ]

    def read(self, asked: Asked) -> str:
        if asked.image == "slow":
            time.sleep(0.5)
        if asked.image == "broken":
            raise MlflowException("row 0: the image is broken", error_code=INVALID_PARAMETER_VALUE)
        self.read_images.append(asked.image)
        return asked.image

    def answer(self, asked: Asked, image: str) -> dict[int, dict[str, Any]]:
        assert image == asked.image
        self.may_answer.wait(20)
        if image == "bug":
            raise RuntimeError("a secret of the server")
        self.answered += asked.questions
        return {
            place: {"answer": question, "probabilities": None, "model_version": self.version}
            for place, question in zip(asked.places, asked.questions, strict=True)
        }


@contextmanager
def running(limits: Limits | None = None) -> Iterator[tuple[str, int, Echo]]:
    """Serve on a free port of loopback; yields host, port and the model."""
    limits, model, port = limits or Limits(), Echo(), free_port()
    config = uvicorn.Config(
        make_app(model, limits, "3"), "127.0.0.1", port, http=timed_protocol(limits), ws="none", lifespan="off",
        log_level="critical", timeout_keep_alive=int(limits.header_seconds) or 1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield "127.0.0.1", port, model
    finally:
        server.should_exit = True
        thread.join(30)
