"""Somebody's saved model outputs as a source of questions (paper, section 3.1), keyed by image path."""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abo_vqa.errors import InputError
from abo_vqa.questions.schema import RawOutput

GENERATOR = "recorded"
NAMED = 20  # how many unknown images a report names


@dataclass(frozen=True)
class Recorded:
    """The outputs kept, in the order of the products, and counts: read = used + unknown + repeated."""

    outputs: list[RawOutput]
    read: int
    repeated: int
    unknown: list[str]
    products_without: int


def select_recorded(path: Path, products: Mapping[str, str]) -> Recorded:
    """Keep the outputs whose image was sampled, verbatim; of two for one image the first.

    products: image path to product id. InputError: no such file, damaged gzip, a line that is not an object
    with the texts `image` and `output` (named by its number), or not one output for a sampled image.
    """
    outputs: dict[str, str] = {}
    unknown: list[str] = []
    read = 0
    for image, output in _lines(path):
        read += 1
        if image not in products:
            unknown.append(image)
        else:
            outputs.setdefault(image, output)
    if not outputs:
        example = f", such as {unknown[0]}" if unknown else ""
        raise InputError(
            f"generate.recorded: {path}: none of its {read} outputs is for a sampled image{example}; "
            "give outputs for the images of sample.images, or raise sample.products"
        )
    kept = [
        RawOutput(products[image], image, GENERATOR, None, outputs[image])
        for image in sorted(outputs, key=lambda image: products[image])
    ]
    repeated = read - len(unknown) - len(kept)
    return Recorded(kept, read, repeated, unknown, len(products) - len(kept))


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    if not path.is_file():
        raise InputError(f"generate.recorded: {path}: not found; correct the path or set generate.source: metadata")
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, 1):  # noqa: B007
                yield _read_line(line)
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(
            f"generate.recorded: {path}: truncated or damaged after line {number} ({error}); copy it again"
        ) from None
    except ValueError as error:
        raise InputError(
            f"generate.recorded: {path}, line {number}: {error}; "
            'every line must be {"image": "xx/xxxxxxxx.jpg", "output": "..."}'
        ) from None


def _read_line(line: bytes) -> tuple[str, str]:
    try:
        record: Any = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    for key in ("image", "output"):
        if not isinstance(record, dict) or not isinstance(record.get(key), str):
            raise ValueError(f"no text {key!r}")
    return record["image"], record["output"]
