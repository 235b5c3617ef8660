"""Write a question set as the archives, recorded outputs and preset that the pipeline reads."""

import gzip
import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from abo_vqa.common.storage import replacing

LISTINGS, IMAGES, QUESTIONS = "data/own-listings.tar", "data/own-images.tar", "data/own-questions.jsonl"
PRESET = Path("presets/own-set.yaml")
_PRESET = f"""\
# The question set that `abo-vqa import-set` read, on all of its images.
sample: {{{{listings: {LISTINGS}, images: {IMAGES}, products: {{images}}}}}}
generate: {{{{source: recorded, recorded: {QUESTIONS}}}}}
train: {{{{max_questions: null}}}}
"""


def write_set(rows: Sequence[Mapping[str, Any]], images: Mapping[str, bytes]) -> int:
    """Write the files of a question set, an image file with equal bytes as one product; return the number of products.

    rows: questions as of read_question_set. images: encoded, by their image_id. Equal sets give equal bytes.
    """
    names = {name: hashlib.sha256(images[name]).hexdigest()[:16] for name in {row["image_id"] for row in rows}}
    pictures = {digest: images[name] for name, digest in sorted(names.items(), key=lambda found: found[1])}
    _write_archives(pictures)
    with replacing(Path(QUESTIONS)) as temporary:
        temporary.write_text("".join(_outputs(rows, names)), encoding="utf-8")
    options = Counter(len(row["options"]) for row in rows if row["options"]).most_common(1)
    preset = _PRESET.format(images=len(pictures)) + "".join(f"validate: {{options: {n}}}\n" for n, _ in options)
    with replacing(PRESET) as temporary:
        temporary.write_text(preset, encoding="utf-8")
    return len(pictures)


def _path(image: str) -> str:
    """Return an image's path in the archive, in ABO's form; readers know its format by its content."""
    return f"{image[:2]}/{image}.jpg"


def _outputs(rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> list[str]:
    """Return a line of recorded outputs per image, in the order of the digests; its questions by their text."""
    asked: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        question = {name: row[name] for name in ("question", "question_type", "answer", "options")}
        asked.setdefault(names[row["image_id"]], []).append(question)
    for questions in asked.values():
        questions.sort(key=json.dumps)
    outputs = {image: json.dumps({"questions": found}, ensure_ascii=False) for image, found in sorted(asked.items())}
    return [json.dumps({"image": _path(image), "output": output}) + "\n" for image, output in outputs.items()]


def _write_archives(pictures: Mapping[str, bytes]) -> None:
    """Write the images as a catalog of ABO's layout: a listing per image that states nothing but its image."""
    listings = (
        {"item_id": image, "domain_name": "own-set", "main_image_id": image, "product_type": [{"value": "IMAGE"}]}
        for image in pictures
    )
    table = ["image_id,height,width,path", *(f"{image},,,{_path(image)}" for image in pictures)]
    _write_tar(LISTINGS, {"listings/metadata/listings_0.json.gz": _packed(map(json.dumps, listings))})
    files = {f"images/small/{_path(image)}": data for image, data in pictures.items()}
    _write_tar(IMAGES, {"images/metadata/images.csv.gz": _packed(table)} | files)


def _packed(lines: Iterable[str]) -> bytes:
    return gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)


def _write_tar(path: str, members: Mapping[str, bytes]) -> None:
    """Write an uncompressed archive without owners or times."""
    with replacing(Path(path)) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
