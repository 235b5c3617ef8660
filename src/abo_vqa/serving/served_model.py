"""The registered model: an MLflow pyfunc that answers rows of image, question and options.

MLflow copies this file and the modules that it imports into the model's folder and runs them there (models from code);
see packaging.py.
"""

import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext
from ruamel.yaml import YAML

from abo_vqa.common.errors import InputError
from abo_vqa.common.params.model import ModelParams, PromptParams

if TYPE_CHECKING:
    from abo_vqa.serving.answering import ReadImage
    from abo_vqa.serving.asked import Asked

MAX_DECODE_SECONDS = 20  # for all images of a request


class Refused(MlflowException):
    """An invalid request: status 400, with only the message in the response.

    For any other exception, the scoring server repeats the whole request, images included.
    """

    def __init__(self, said: str) -> None:
        super().__init__(said, error_code=INVALID_PARAMETER_VALUE)
        self._said = said

    def serialize_as_json(self) -> str:
        """Return the scoring server's response."""
        return json.dumps({"error_code": self.error_code, "message": self._said})


class ServedModel(PythonModel):
    """One adapter on its base, as loaded and called by MLflow."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load base and adapter from the model's folder."""
        from abo_vqa.serving.answering import Answerer

        settings, adapter = context.model_config, Path(context.artifacts["adapter"])
        self.arm = settings["arm"]
        model = ModelParams.model_validate(
            settings["model"] | {"base": context.artifacts.get("base", settings["base"])}
        )
        self._answerer = Answerer(
            model,
            {self.arm: adapter},
            settings["max_new_tokens"],
            settings["tokens_per_pass"],
            {self.arm: PromptParams.model_validate(settings["prompt"])},
        )
        self.version = f"{_registered_as(adapter)}/{settings['adapter'][:12]}"
        # One request at a time: parallel requests gain nothing on one device and need more memory.
        self._turn = threading.Lock()

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return columns answer, probabilities (option to probability, None for open questions) and model_version.

        model_input: columns image (path, base64 text or bytes of the file), question, and optionally options (a list
        of texts, None for an open question). Raises Refused naming the invalid rows.
        """
        asked = self.group(model_input.to_dict("records"))
        # Before the lock: decoding is slow, and others can be answered meanwhile.
        started, read = time.monotonic(), []
        for each in asked:
            read.append(self.read(each))
            if time.monotonic() - started > MAX_DECODE_SECONDS:
                raise Refused(f"reading the images took more than {MAX_DECODE_SECONDS} s; send fewer or smaller ones")
        replies: dict[int, dict[str, Any]] = {}
        for each, image in zip(asked, read, strict=True):
            replies |= self.answer(each, image)
        rows = [replies[place] for place in range(len(model_input))]
        return pd.DataFrame(
            {
                "answer": [row["answer"] for row in rows],
                "probabilities": pd.Series([row["probabilities"] for row in rows], dtype=object),
                "model_version": self.version,
            }
        )

    def group(self, rows: list[dict[Any, Any]]) -> "list[Asked]":
        """Return a request's questions by image, its texts and its images' headers checked; raises Refused."""
        from abo_vqa.serving.asked import group_rows

        try:
            return group_rows(rows)
        except InputError as error:
            raise Refused(str(error)) from None

    def read(self, asked: "Asked") -> "ReadImage":
        """Decode an image and process it for `answer`; needs no lock. Raises Refused."""
        try:
            self._answerer.check_tokens(asked.questions)
            return self._answerer.read(asked.image)
        except InputError as error:
            raise Refused(asked.named(error)) from None

    def answer(self, asked: "Asked", image: "ReadImage") -> dict[int, dict[str, Any]]:
        """Return by row: answer, probabilities and model_version; image: of `read`. Raises Refused."""
        try:
            with self._turn:
                replies = self._answerer.answer_read(image, asked.questions, self.arm)
        except InputError as error:
            raise Refused(asked.named(error)) from None
        return {
            place: {"answer": reply.answer, "probabilities": reply.probabilities, "model_version": self.version}
            for place, reply in zip(asked.places, replies, strict=True)
        }


def _registered_as(adapter: Path) -> str:
    """Return name and version, which MLflow writes next to a downloaded registered model."""
    root = next(folder for folder in adapter.parents if (folder / "MLmodel").is_file())
    meta = root / "registered_model_meta"
    if not meta.is_file():
        return "unregistered"
    found = YAML(typ="safe", pure=True).load(meta)
    return f"{found['model_name']}/{found['model_version']}"


mlflow.models.set_model(ServedModel())
