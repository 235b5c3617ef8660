"""The model that is registered and served: an MLflow pyfunc that answers rows of image, question and options.

This file is copied into the model's folder and run there (MLflow's models from code), with the modules that it imports;
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

# Paths in requests are read inside this folder only; the working directory where it is not set.
IMAGES_VARIABLE = "ABO_VQA_IMAGES"
MAX_ROWS = 256
_LONGEST_PATH = 1024  # characters; a longer text is taken for base64 without looking
_PROBLEMS_NAMED = 3


class Refused(MlflowException):
    """A request that is wrong: status 400, and in the answer only what is wrong.

    The scoring server puts the whole request before the message of any other exception, images included.
    """

    def __init__(self, said: str) -> None:
        super().__init__(said, error_code=INVALID_PARAMETER_VALUE)
        self._said = said

    def serialize_as_json(self) -> str:
        """Return what the scoring server answers."""
        return json.dumps({"error_code": self.error_code, "message": self._said})


class AnswerModel(PythonModel):
    """One adapter over its base, as MLflow loads and asks it."""

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
        # One request at a time: answering in parallel gains nothing on one device, and memory is for one.
        self._turn = threading.Lock()

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Return columns answer, probabilities (option to probability, None for open questions) and model_version.

        model_input: columns image (path, base64 text or bytes of the file), question, and options where there are any
        (a list of texts, None for an open question). Raises Refused naming the rows that are wrong.
        """
        if not 1 <= len(model_input) <= MAX_ROWS:
            raise Refused(f"{len(model_input)} rows given, wanted 1 to {MAX_ROWS} at a time")
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

    # A cell that a row leaves out is NaN; lists come from Parquet as arrays.
    given = {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in row.items()}
    options = given.get("options")
    options = options.tolist() if isinstance(options, np.ndarray) else options
    question = Question(check_question(given["question"]), check_options(options))
    return _image(given["image"]), question


def _image(given: Any) -> bytes:
    """Return the image that a path, a base64 text, or bytes stand for."""
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
    """Return name and version, which MLflow writes beside a registered model that it has fetched."""
    root = next(folder for folder in adapter.parents if (folder / "MLmodel").is_file())
    meta = root / "registered_model_meta"
    if not meta.is_file():
        return "unregistered"
    found = YAML(typ="safe", pure=True).load(meta)
    return f"{found['model_name']}/{found['model_version']}"


mlflow.models.set_model(AnswerModel())
