"""Small archives in ABO's shape, made by hand."""

import gzip
import io
import json
import os
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from abo_vqa.catalog.listing import Listing
from abo_vqa.catalog.shard import hashes
from paths import ROOT

SHARDS = "0123456789abcdef"


def jpeg(seed: int) -> bytes:
    """A small JPEG, different for every seed."""
    picture = Image.new("RGB", (24, 20), (seed * 37 % 256, seed * 91 % 256, seed // 7 % 256))
    picture.putpixel((seed % 24, seed % 20), (255, 255, 255))
    packed = io.BytesIO()
    picture.save(packed, "JPEG", quality=95)
    return packed.getvalue()


def hashed(*image_ids: str | None) -> pa.ChunkedArray:
    """Image ids as listings keep them."""
    missing = np.array([image is None for image in image_ids])
    return pa.chunked_array([pa.array(hashes(image_ids), mask=missing)])


def record(number: int, **changes: Any) -> dict[str, Any]:
    """A listing as ABO writes it; keys given as None are left out."""

    def texts(value: str) -> list[dict[str, str]]:
        return [{"language_tag": "de_DE", "value": "anders"}, {"language_tag": "en_US", "value": value}]

    values: dict[str, Any] = {
        "item_id": f"B{number:09d}",
        "domain_name": "amazon.com",
        "product_type": [{"value": f"TYPE{number % 7}_VASE"}],
        "brand": texts("Rivet"),
        "color": texts(("Red", "Blue", "Green", "Dark Blue", "Black")[number % 5]),
        "material": texts(("Glass", "Wood", "Metal", "Ceramic")[number % 4]),
        "item_shape": texts(("Round", "Square", "Oval", "Rectangular")[number % 4]),
        "item_name": texts(f"Vase number {number}, Set of {number % 11}"),
        "bullet_point": texts(f"Shown with {number % 9} flowers"),
        "item_dimensions": {
            "height": {
                "normalized_value": {"unit": "inches", "value": 4 + number % 5},
                "unit": "x",
                "value": 1,
            },
            "width": {"unit": "centimeters", "value": 15.24},
        },
        "main_image_id": f"img{number}",
    }
    return {key: value for key, value in (values | changes).items() if value is not None}


def listing(number: int, **changes: Any) -> Listing:
    """A listing as the project reads it."""
    return Listing.from_abo(record(number, **changes))


def image_path(number: int) -> str:
    name = f"{number:08x}"
    return f"{name[-2:]}/{name}.jpg"


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def listings_tar(path: Path, lines: Iterable[Any], cut: Mapping[str, float] | None = None) -> Path:
    """Deal the lines (objects, or bytes as they are) out to 16 shards; keep only a share of the bytes of those cut."""
    shards: dict[str, list[bytes]] = {name: [] for name in SHARDS}
    for index, line in enumerate(lines):
        shards[SHARDS[index % 16]].append(line if isinstance(line, bytes) else json.dumps(line).encode())
    packed = [(name, gzip.compress(b"".join(line + b"\n" for line in rows))) for name, rows in shards.items()]
    kept = {name: data[: int(len(data) * (cut or {}).get(name, 1))] for name, data in packed}
    return write_tar(path, [(f"listings/metadata/listings_{name}.json.gz", data) for name, data in kept.items()])


def images_tar(path: Path, images: dict[int, bytes], unnamed: Iterable[int] = (), absent: Iterable[int] = ()) -> Path:
    """Images by number; the table names all but `unnamed`, and `absent` ones that are not there."""
    named = [*(number for number in images if number not in set(unnamed)), *absent]
    table = "image_id,height,width,path\n" + "".join(f"img{n},20,24,{image_path(n)}\n" for n in named)
    members = [("images/metadata/images.csv.gz", gzip.compress(table.encode()))]
    members += [(f"images/small/{image_path(number)}", data) for number, data in images.items()]
    return write_tar(path, members)


def real_data() -> Path:
    """The folder of real ABO archives; skips where there is none."""
    folder = Path(os.environ.get("ABO_VQA_REAL_DATA", ROOT.parent / "shared" / "abo"))
    if not (folder / "archives" / "abo-listings.tar").is_file():
        pytest.skip(f"no real ABO archives at {folder}; set ABO_VQA_REAL_DATA")
    return folder
