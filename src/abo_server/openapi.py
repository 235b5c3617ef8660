"""The OpenAPI description of requests and answers."""

import base64
import io
from typing import Any

from PIL import Image

_IMAGE = {
    "type": "string", "minLength": 1,
    "description": "the path of a file in the server's folder, or the file as base64 text: JPEG, PNG, WEBP, GIF, BMP",
}  # fmt: skip
_QUESTION = {"type": "string", "pattern": r"\S", "maxLength": 1000}
_OPTIONS = {
    "description": "texts to choose from, all different; left out or null: an open question",
    "anyOf": [
        {"type": "null"},
        {"type": "array", "minItems": 2, "maxItems": 26, "uniqueItems": True,
         "items": {"type": "string", "pattern": r"\S", "maxLength": 200}},
    ],
}  # fmt: skip
_ROW = {
    "type": "object", "required": ["image", "question"], "additionalProperties": False,
    "properties": {"image": _IMAGE, "question": _QUESTION, "options": _OPTIONS},
}  # fmt: skip
_ROWS: dict[str, Any] = {"type": "array", "minItems": 1, "maxItems": 256, "items": _ROW}
_CELLS = [_IMAGE, _QUESTION, _OPTIONS]
_SPLIT: dict[str, Any] = {
    "type": "object", "required": ["columns", "data"],
    "properties": {
        "columns": {"const": ["image", "question", "options"]},
        "data": {"type": "array", "minItems": 1, "maxItems": 256,
                 "items": {"type": "array", "minItems": 3, "maxItems": 3, "prefixItems": _CELLS}},
    },
}  # fmt: skip


def _only(form: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": [form], "additionalProperties": False, "properties": {form: schema}}


def _answer(description: str, properties: dict[str, Any]) -> dict[str, Any]:
    schema = {
        "type": "object", "required": list(properties), "additionalProperties": False, "properties": properties,
    }  # fmt: skip
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_TEXT = {"type": "string"}
_SHARES = {"anyOf": [{"type": "null"}, {"type": "object", "additionalProperties": {"type": "number"}}]}
_PREDICTION = {
    "type": "object", "required": ["answer", "probabilities", "model_version"], "additionalProperties": False,
    "properties": {"answer": _TEXT, "probabilities": _SHARES, "model_version": _TEXT},
}  # fmt: skip
_FORMS: dict[str, dict[str, Any]] = {"dataframe_records": _ROWS, "dataframe_split": _SPLIT, "inputs": _ROWS}


def example() -> dict[str, Any]:
    """Return a body that is answered: one question about a small red image."""
    with io.BytesIO() as file:
        Image.new("RGB", (32, 32), (200, 30, 30)).save(file, "PNG")
        image = base64.b64encode(file.getvalue()).decode()
    options = ["red", "blue", "green", "black"]
    return {"dataframe_records": [{"image": image, "question": "What color is it?", "options": options}]}


ASKED = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"oneOf": [_only(form, schema) for form, schema in _FORMS.items()]},
            "example": example(),
        }
    },
}
ANSWERED = _answer("the answers, in the order of the rows", {"predictions": {"type": "array", "items": _PREDICTION}})
HEALTHY = _answer("the model is loaded", {"status": {"const": "ok"}})
VERSION = _answer("what answers", {"model_version": _TEXT, "arm": _TEXT, "mlflow": _TEXT})
_REASONS = {
    400: "a row, the JSON or a budget of images is refused; the message says which",
    408: "the body came too slowly",
    413: "the body is too large",
    415: "the body is no JSON",
    503: "too many requests",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: _answer(reason, {"error_code": _TEXT, "message": _TEXT}) for status, reason in _REASONS.items()
}
