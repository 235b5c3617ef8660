"""The rows of a request, checked before anything is decoded, and grouped by their image."""

import base64
import binascii
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from abo_vqa.common.errors import InputError
from abo_vqa.serving.answering import Question
from abo_vqa.serving.checks import check_options, check_question, count_pixels, read_file

# Paths in requests are read inside this folder only; default: the working directory.
IMAGES_VARIABLE = "ABO_VQA_IMAGES"
COLUMNS = ("image", "question", "options")
MAX_ROWS = 256
# Of all images of a request together: two seconds of decoding.
MAX_TOTAL_PIXELS = 100_000_000
_LONGEST_PATH = 1024  # characters; longer text is decoded as base64 without looking for a file
_PROBLEMS_NAMED = 3


@dataclass(frozen=True)
class Asked:
    """An image and the questions about it. places: their rows in the request; pixels: as its header declares."""

    image: bytes
    pixels: int
    places: tuple[int, ...]
    questions: tuple[Question, ...]

    def named(self, error: Exception) -> str:
        """Return an error's message with the rows that it may be about."""
        places = ", ".join(map(str, self.places))
        return f"{'row' if len(self.places) == 1 else 'one of the rows'} {places}: {error}"


def group_rows(rows: Sequence[dict[Any, Any]]) -> list[Asked]:
    """Return the questions by image; InputError naming the first invalid rows, or the exceeded budget.

    rows: image (path, base64 text or bytes of the file), question, and optionally options (a list of texts, None for an
    open question).
    """
    if not 1 <= len(rows) <= MAX_ROWS:
        raise InputError(f"{len(rows)} rows given, must be 1 to {MAX_ROWS}")
    pixels: dict[bytes, int] = {}
    by_image: dict[bytes, list[tuple[int, Question]]] = {}
    problems = []
    for place, row in enumerate(rows):
        try:
            image, question = _checked(row)
            if image not in pixels:
                pixels[image] = count_pixels(image)
            by_image.setdefault(image, []).append((place, question))
        except InputError as error:
            problems.append(f"row {place}: {error}")
    if problems:
        more = f"; and {len(problems) - _PROBLEMS_NAMED} more rows" if len(problems) > _PROBLEMS_NAMED else ""
        raise InputError("; ".join(problems[:_PROBLEMS_NAMED]) + more)
    if (total := sum(pixels.values())) > MAX_TOTAL_PIXELS:
        raise InputError(
            f"the {len(pixels)} images have {total / 1e6:.0f} million pixels together, more than "
            f"{MAX_TOTAL_PIXELS / 1e6:.0f} million; scale them down or send several requests"
        )
    return [Asked(image, pixels[image], *zip(*found, strict=True)) for image, found in by_image.items()]


def _checked(row: dict[Any, Any]) -> tuple[bytes, Question]:
    if unknown := [name for name in row if name not in COLUMNS]:
        raise InputError(f"{unknown[0]!r} is none of the columns {', '.join(COLUMNS)}")
    # A missing cell is NaN; Parquet returns lists as arrays.
    given = {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in row.items()}
    options = given.get("options")
    options = options.tolist() if isinstance(options, np.ndarray) else options
    question = Question(check_question(given.get("question")), check_options(options))
    return _image(given.get("image")), question


def _image(given: Any) -> bytes:
    """Return the bytes of a file, of a path inside the folder or of base64 text."""
    if isinstance(given, bytes):
        return given
    if not isinstance(given, str) or not given:
        raise InputError("image: missing; give the path of a file, or the file as base64 text")
    folder = Path(os.environ.get(IMAGES_VARIABLE) or ".").resolve()
    if len(given) <= _LONGEST_PATH and "\0" not in given:
        path = (folder / given).resolve()
        if path.is_relative_to(folder) and os.path.isfile(path):
            data = read_file(path)
            try:
                count_pixels(data)
            except InputError as error:
                raise InputError(f"{path}: {error}") from None
            return data
    try:
        return base64.b64decode("".join(given.rpartition(";base64,")[2].split()), validate=True)
    except (binascii.Error, ValueError):
        raise InputError(
            f"image: neither the path of a file in {folder} ({IMAGES_VARIABLE} names another folder) nor base64 text"
        ) from None
