"""Saved model outputs as a source of questions (paper, section 3.1), keyed by image path.

Two formats are read: JSON lines, one output per line, and CSV, one question per row. Either may be gzipped.
"""

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params
from abo_vqa.common.schema import RawOutput

GENERATOR = "recorded"
NAMED = 20  # unknown images that a report lists

# Accepted names of the CSV columns; the first one present is read.
_IMAGE, _QUESTION = ("image", "image_path", "path"), ("question",)
_ANSWER = ("answer", "correct_answer", "final_answer")
_TYPE = ("type", "question_type")
_OPTIONS = [("option_" + letter, "option" + letter, letter) for letter in "abcdefgh"]
_LINE = 'every line must be {"image": "xx/xxxxxxxx.jpg", "output": "..."}'
_HEADER = "the header must name image, question, answer and option_a, option_b, ..."


@dataclass(frozen=True)
class Recorded:
    """The outputs kept, in product order, and counts: read = used + unknown + repeated."""

    outputs: list[RawOutput]
    read: int
    repeated: int
    unknown: list[str]
    products_without: int


def generate(rows: Sequence[dict[str, Any]], params: Params) -> tuple[list[RawOutput], dict[str, Any]]:
    """Return the recorded outputs for the sample's images, and counts."""
    assert params.generate.recorded is not None  # checked with the parameters
    products = {row["image_path"]: row["product_id"] for row in rows}
    recorded = select_recorded(Path(params.generate.recorded), products)
    counts = {
        "outputs_read": recorded.read,
        "outputs": len(recorded.outputs),
        "outputs_repeated": recorded.repeated,
        "outputs_for_unknown_images": len(recorded.unknown),
        "unknown_images": recorded.unknown[:NAMED],
        "products_without_output": recorded.products_without,
    }
    return recorded.outputs, counts


def select_recorded(path: Path, products: Mapping[str, str]) -> Recorded:
    """Keep the outputs of sampled images verbatim; of two for one image, the first.

    products: image path to product id. InputError: as read_recorded, or no output for a sampled image.
    """
    outputs: dict[str, RawOutput] = {}
    unknown: list[str] = []
    read = 0
    for output in read_recorded(path):
        read += 1
        if output.image_path not in products:
            unknown.append(output.image_path)
        else:
            outputs.setdefault(output.image_path, output)
    if not outputs:
        example = f", such as {unknown[0]}" if unknown else ""
        raise InputError(
            f"generate.recorded: {path}: none of its {read} outputs is for a sampled image{example}; "
            "give outputs for the images of sample.images, or raise sample.products"
        )
    kept = [
        replace(outputs[image], product_id=products[image])
        for image in sorted(outputs, key=lambda image: products[image])
    ]
    repeated = read - len(unknown) - len(kept)
    return Recorded(kept, read, repeated, unknown, len(products) - len(kept))


def read_recorded(path: Path) -> Iterator[RawOutput]:
    """Yield the outputs of a file in order, each with its image path in place of a product id.

    JSON lines: `image` and `output`, and optionally `model`, `seed` and `prompt` (whose digest is kept). CSV (name
    ending in .csv or .csv.gz): columns image, question, answer, option_a, option_b, ..., and optionally type, or their
    other names above; the rows of one image become one output. InputError: missing file, damaged gzip, or a line or
    header without these, with its number.
    """
    if not path.is_file():
        raise InputError(f"generate.recorded: {path}: not found; correct the path or set generate.source: metadata")
    yield from _read_csv(path) if ".csv" in path.suffixes else _read_lines(path)


def _read_lines(path: Path) -> Iterator[RawOutput]:
    number = 0
    with _named_problems(path, lambda: f"line {number}", _LINE), _open(path) as lines:
        for number, line in enumerate(lines, 1):  # noqa: B007
            yield _read_line(line)


def _read_line(line: bytes) -> RawOutput:
    try:
        record: Any = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    for key in ("image", "output"):
        if not isinstance(record, dict) or not isinstance(record.get(key), str):
            raise ValueError(f"no string {key!r}")
    model, seed, prompt = (record.get(key) for key in ("model", "seed", "prompt"))
    for key, value, kind in (("model", model, str), ("seed", seed, int), ("prompt", prompt, str)):
        if value is not None and not isinstance(value, kind):
            raise ValueError(f"{key!r} is not {'an integer' if kind is int else 'a string'}")
    digest = None if prompt is None else hashlib.sha256(prompt.encode(errors="replace")).hexdigest()[:16]
    return RawOutput(record["image"], record["image"], GENERATOR, seed, record["output"], model, digest)


def _read_csv(path: Path) -> Iterator[RawOutput]:
    entries: dict[str, list[dict[str, Any]]] = {}
    number = 0
    with _named_problems(path, lambda: f"line {number}", _HEADER), _open(path) as lines:
        table = csv.DictReader(io.TextIOWrapper(lines, encoding="utf-8-sig", newline=""), strict=True)
        header = list(table.fieldnames or ())
        number = table.line_num
        image, question, answer = (_column(header, names) for names in (_IMAGE, _QUESTION, _ANSWER))
        options = [name for names in _OPTIONS if (name := _column(header, names, needed=False))]
        kind = _column(header, _TYPE, needed=False)
        if len(options) < 2:
            raise ValueError("fewer than two option columns")
        for row in table:
            number = table.line_num
            if not row[image]:
                raise ValueError(f"no {image}")
            entry = {
                "question": row[question],
                "answer": row[answer],
                "options": dict(zip("ABCDEFGH", map(row.get, options), strict=False)),
            }
            entries.setdefault(row[image], []).append({"type": row[kind]} | entry if kind else entry)
    for name, questions in entries.items():
        yield RawOutput(name, name, GENERATOR, None, json.dumps({"questions": questions}, ensure_ascii=False))


def _column(header: list[str], names: tuple[str, ...], needed: bool = True) -> str:
    found = next((name for name in names if name in header), "")
    if needed and not found:
        raise ValueError(f"no column {' or '.join(names)}")
    return found


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


@contextmanager
def _named_problems(path: Path, where: Callable[[], str], form: str) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, OSError) as error:
        raise InputError(
            f"generate.recorded: {path}: truncated or damaged after {where()} ({error}); copy it again"
        ) from None
    except (ValueError, csv.Error) as error:
        raise InputError(f"generate.recorded: {path}, {where()}: {error}; {form}") from None
