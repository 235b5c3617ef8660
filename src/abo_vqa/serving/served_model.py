"""The registered model: an MLflow pyfunc that answers rows of image, question and options.

MLflow copies this file and the modules that it imports into the model's folder and runs them there (models from code);
see packaging.py.
"""

import base64
import binascii
import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext
from ruamel.yaml import YAML

from abo_vqa.common.errors import InputError
from abo_vqa.common.params.model import ModelParams, PromptParams
from abo_vqa.serving.checks import check_image, check_options, check_question, read_image

if TYPE_CHECKING:
    from abo_vqa.serving.answering import Question, Reply

# Paths in requests are read inside this folder only; default: the working directory.
IMAGES_VARIABLE = "ABO_VQA_IMAGES"
MAX_ROWS = 256
_LONGEST_PATH = 1024  # characters; longer text is decoded as base64 without looking for a file
_PROBLEMS_NAMED = 3


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
        self._arm = settings["arm"]
        model = ModelParams.model_validate(
            settings["model"] | {"base": context.artifacts.get("base", settings["base"])}
        )
        self._answerer = Answerer(
            model,
            {self._arm: adapter},
            settings["max_new_tokens"],
            settings["tokens_per_pass"],
            {self._arm: PromptParams.model_validate(settings["prompt"])},
        )
        self._version = f"{_registered_as(adapter)}/{settings['adapter'][:12]}"
        # One request at a time: parallel requests gain nothing on one device and need more memory.
        self._turn = threading.Lock()

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return columns answer, probabilities (option to probability, None for open questions) and model_version.

        model_input: columns image (path, base64 text or bytes of the file), question, and optionally options (a list
        of texts, None for an open question). Raises Refused naming the invalid rows.
        """
        if not 1 <= len(model_input) <= MAX_ROWS:
            raise Refused(f"{len(model_input)} rows given, must be 1 to {MAX_ROWS}")
        with self._turn:
            replies = self._replies(model_input.to_dict("records"))
        return pd.DataFrame(
            {
                "answer": [reply.answer for reply in replies],
                "probabilities": pd.Series([reply.probabilities for reply in replies], dtype=object),
                "model_version": self._version,
            }
        )

    def _replies(self, rows: list[dict[Any, Any]]) -> "list[Reply]":
        by_image: dict[bytes, list[tuple[int, Question]]] = {}
        problems = []
        for place, row in enumerate(rows):
            try:
                image, question = _checked(row)
                by_image.setdefault(image, []).append((place, question))
            except InputError as error:
                problems.append(f"row {place}: {error}")
        if problems:
            more = f"; and {len(problems) - _PROBLEMS_NAMED} more rows" if len(problems) > _PROBLEMS_NAMED else ""
            raise Refused("; ".join(problems[:_PROBLEMS_NAMED]) + more)
        replies: dict[int, Reply] = {}
        for image, asked in by_image.items():
            places, questions = zip(*asked, strict=True)
            try:
                found = self._answerer.answer_checked(image, questions, self._arm)
            except InputError as error:
                raise Refused(
                    f"{'row' if len(places) == 1 else 'one of the rows'} {_listed(places)}: {error}"
                ) from None
            replies |= dict(zip(places, found, strict=True))
        return [replies[place] for place in range(len(rows))]


def _checked(row: dict[Any, Any]) -> "tuple[bytes, Question]":
    from abo_vqa.serving.answering import Question

    # A missing cell is NaN; Parquet returns lists as arrays.
    given = {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in row.items()}
    options = given.get("options")
    options = options.tolist() if isinstance(options, np.ndarray) else options
    question = Question(check_question(given["question"]), check_options(options))
    return _image(given["image"]), question


def _image(given: Any) -> bytes:
    """Return the image of a path, base64 text or bytes."""
    if isinstance(given, bytes):
        check_image(given)
        return given
    if not isinstance(given, str) or not given:
        raise InputError("image: missing; give the path of a file, or the file as base64 text")
    folder = Path(os.environ.get(IMAGES_VARIABLE) or ".").resolve()
    if len(given) <= _LONGEST_PATH and "\0" not in given:
        path = (folder / given).resolve()
        if path.is_relative_to(folder) and os.path.isfile(path):
            return read_image(path)
    try:
        data = base64.b64decode("".join(given.rpartition(";base64,")[2].split()), validate=True)
    except (binascii.Error, ValueError):
        raise InputError(
            f"image: neither the path of a file in {folder} ({IMAGES_VARIABLE} names another folder) nor base64 text"
        ) from None
    check_image(data)
    return data


def _listed(places: tuple[int, ...]) -> str:
    return ", ".join(map(str, places))


def _registered_as(adapter: Path) -> str:
    """Return name and version, which MLflow writes next to a downloaded registered model."""
    root = next(folder for folder in adapter.parents if (folder / "MLmodel").is_file())
    meta = root / "registered_model_meta"
    if not meta.is_file():
        return "unregistered"
    found = YAML(typ="safe", pure=True).load(meta)
    return f"{found['model_name']}/{found['model_version']}"


mlflow.models.set_model(ServedModel())
