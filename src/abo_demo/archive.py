"""Pack listings and pictures into archives with ABO's layout, deterministically."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL

SHARDS = "0123456789abcdef"
MALFORMED_SHARD = "7"

# These texts are in the committed archives: a changed word changes their digests.
_LICENSE = """\
The listings and images in this archive are drawn and written by the abo-vqa project. None of them is taken from
Amazon Berkeley Objects (ABO), whose archive layout and keys they follow. Brand names that ABO also holds are used only
to look alike; the products do not exist.

Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in compliance with the
License. You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on an
"AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the License for the specific
language governing permissions and limitations under the License.
"""

_LISTINGS_README = """\
# The demo catalogue: listings

Drawn by the abo-vqa project (Apache-2.0, see LICENSE-Apache-2.0.txt), in the layout and with the keys of Amazon
Berkeley Objects. `listings/metadata/listings_<0-9a-f>.json.gz` hold one JSON object a line. A listing is keyed by
(`item_id`, `domain_name`); `product_type` is `[{"value": <str>}]`, as in ABO's files.

What a listing states of color, material, shape, sides and numbers is true of its main image: it is written from the
scene that is drawn. Brand, model, weight, length, year and node are made up.

Like ABO's, the data are not clean: keys are missing, texts come in several languages, images are shared, one line is
malformed, one listing's image does not exist, one image is cut off.
"""

_IMAGES_README = """\
# The demo catalogue: images

Drawn by the abo-vqa project (Apache-2.0, see LICENSE-Apache-2.0.txt), in the layout of Amazon Berkeley Objects.
`images/metadata/images.csv.gz` has the columns `image_id`, `height`, `width` (pixels) and `path`, relative to
`images/small/`. There are no larger originals: height and width are those of the small image.

One image is cut off on purpose.

Drawn with Pillow {pillow} and numpy {numpy}; others may round a pixel differently.
"""


@dataclass(frozen=True)
class Picture:
    """An encoded image. width, height: pixels. path: relative to images/small/. data: the file's bytes."""

    image_id: str
    width: int
    height: int
    path: str
    data: bytes


def images_readme() -> str:
    """Return the text of images/README.md, which names the versions that drew the images."""
    return _IMAGES_README.format(pillow=PIL.__version__, numpy=np.__version__)


def write_listings(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write the listings archive: 16 shards, one of which has a malformed line."""
    shards: dict[str, list[str]] = {shard: [] for shard in SHARDS}
    for record in records:
        line = json.dumps(record, ensure_ascii=False)
        key = f"{record['item_id']}@{record['domain_name']}"
        shards[hashlib.sha256(key.encode()).hexdigest()[0]].append(line)
    # The malformed line is the first half of a copy of a good one, so that no product is lost.
    lines = shards[MALFORMED_SHARD]
    whole = json.dumps(records[0], ensure_ascii=False)
    lines.insert(len(lines) // 2, whole[: len(whole) // 2])
    members = {
        f"listings/metadata/listings_{shard}.json.gz": _packed("".join(f"{line}\n" for line in lines))
        for shard, lines in shards.items()
    }
    members["listings/README.md"] = _LISTINGS_README.encode()
    members["LICENSE-Apache-2.0.txt"] = _LICENSE.encode()
    _write_tar(path, members)


def write_images(path: Path, pictures: Sequence[Picture]) -> None:
    """Write the archive of small images with its table of images; ValueError if two have the same path."""
    members = {f"images/small/{picture.path}": picture.data for picture in pictures}
    if len(members) != len(pictures):
        raise ValueError("two images have the same path; choose another seed")
    rows = ["image_id,height,width,path\n"]
    rows += [f"{p.image_id},{p.height},{p.width},{p.path}\n" for p in sorted(pictures, key=lambda p: p.image_id)]
    members["images/metadata/images.csv.gz"] = _packed("".join(rows))
    members["images/README.md"] = images_readme().encode()
    members["LICENSE-Apache-2.0.txt"] = _LICENSE.encode()
    _write_tar(path, members)


def _packed(text: str) -> bytes:
    return gzip.compress(text.encode(), 9, mtime=0)


def _write_tar(path: Path, members: Mapping[str, bytes]) -> None:
    """Write an uncompressed tar, sorted, without owners or times; replace an older one only when complete."""
    partial = path.with_name(path.name + ".partial")
    with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(members):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(members[name]), 0o644
            tar.addfile(info, io.BytesIO(members[name]))
    partial.replace(path)
