"""A generated catalog with ABO's keys, gaps and text volumes, of any number of listings; no real data in it."""

import csv
import io
import random
import tarfile
import zlib
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import orjson
from PIL import Image

LISTINGS, IMAGE_ROWS = 147_702, 398_212  # ABO's
SHARDS = "0123456789abcdef"
TYPES = 576
# These two bring the archive to ABO's 592 packed bytes a listing.
PHRASES, OWN_PHRASES = 1000, 6
_Tail = tuple[list[str], list[float]]  # values with their accumulated weights, falling as in a natural text
# ABO is phone cases to nearly a half, shoes next, and then a long tail.
_HEAD = {"CELLULAR_PHONE_CASE": 0.44, "SHOES": 0.09, "GROCERY": 0.045, "HOME": 0.035}
_BRANDS = ("AmazonBasics", "Amazon Essentials", "Solimo", "find.", "Rivet", "Stone & Beam", "Symbol", "Pinzon")
_COLORS = ("Black", "White", "Blue", "Red", "Multicolor", "Grey", "Brown", "Green", "Beige", "Silver", "Navy", "Pink")
_MATERIALS = ("Plastic", "Leather", "Cotton", "Wood", "Steel", "Polyester", "Glass", "Ceramic")
# Marketplace, country, its languages and its share: India lists most, in English only.
_MARKETS = (
    ("amazon.in", "IN", ("en_IN",), 0.55),
    ("amazon.com", "US", ("en_US", "es_US"), 0.2),
    ("amazon.de", "DE", ("de_DE", "en_GB", "fr_FR"), 0.08),
    ("amazon.ca", "CA", ("en_CA", "fr_CA"), 0.07),
    ("amazon.co.jp", "JP", ("ja_JP", "en_US", "zh_CN"), 0.05),
    ("amazon.ae", "AE", ("en_AE", "ar_AE"), 0.05),
)
_ALPHABETS = {"ja": range(0x3041, 0x3090), "zh": range(0x4E00, 0x5000), "ar": range(0x0627, 0x0648)}


class Writer:
    """Writes the records of one shard; the same seed and shard write the same ones."""

    def __init__(self, seed: int, shard: str, shards_listings: int, image_rows: int, brief: bool = False):
        self._rng = random.Random(f"{seed}/{shard}")
        self._shard, self._listings, self._image_rows = shard, shards_listings, image_rows
        self._record = self.brief_record if brief else self.record
        words = random.Random(seed)
        self._phrases = {language: _phrases(words, language) for language in ("en", "de", "fr", "es", "ja", "zh", "ar")}
        rest = [1 / (number + 3) for number in range(TYPES - len(_HEAD))]
        scale = (1 - sum(_HEAD.values())) / sum(rest)
        types = [*_HEAD, *(f"TYPE_{number:03d}" for number in range(len(rest)))]
        self._types = types, list(accumulate([*_HEAD.values(), *(weight * scale for weight in rest)]))
        self._brands = _long_tail([*_BRANDS, *(f"Brand {number}" for number in range(800))])
        self._colors = _long_tail([*_COLORS, *(f"Shade {number}" for number in range(3000))])

    def pack(self) -> tuple[bytes, int]:
        """Return the shard's gzip bytes and how many bytes they unpack to."""
        packer, packed, unpacked = zlib.compressobj(6, wbits=31), [], 0
        for number in range(self._listings):
            line = orjson.dumps(self._record(number)) + b"\n"
            unpacked += len(line)
            packed.append(packer.compress(line))
        return b"".join([*packed, packer.flush()]), unpacked

    def record(self, number: int) -> dict[str, Any]:
        """Return one listing with up to 28 keys."""
        rng = self._rng
        domain, country, languages, _ = rng.choices(_MARKETS, [market[-1] for market in _MARKETS])[0]
        kind, brand, color = map(self._one, (self._types, self._brands, self._colors))
        code = f"{self._shard}{number:08X}"

        def texts(count: int, longest: int, tags: tuple[str, ...] = languages) -> list[dict[str, Any]]:
            return [
                {"language_tag": tag, "value": text}
                for tag in tags
                for text in self._texts(tag, rng.randrange(1, count + 1), longest)
            ]

        def word(value: str) -> list[dict[str, Any]]:
            return [{"language_tag": tag, "value": value} for tag in languages]

        number_of_images = self._image_rows // (16 * max(1, self._listings))
        images = [f"{code}{suffix}" for suffix in "ABCDEFGH"[: max(1, number_of_images)]]
        side = {"normalized_value": {"unit": "inches", "value": 7.5}, "unit": "centimeters", "value": 19.05}
        weight = {"normalized_value": {"unit": "pounds", "value": 1.2}, "unit": "pounds", "value": 1.2}
        record: dict[str, Any] = {
            "brand": word(brand),
            "bullet_point": texts(8, 4),
            "color": [value | {"standardized_values": [color]} for value in word(color)],
            "color_code": [f"#{rng.randrange(1 << 24):06x}"],
            "country": country,
            "domain_name": domain,
            "fabric_type": word("100% Cotton"),
            "finish_type": word("Matte"),
            "item_dimensions": {"height": side, "length": side, "width": side},
            "item_id": f"B{code}",
            "item_keywords": texts(40, 0),
            "item_name": texts(1, 1),
            "item_shape": word("Rectangular"),
            "item_weight": [weight],
            "main_image_id": images[0],
            "marketplace": "Amazon",
            "material": word(rng.choice(_MATERIALS)),
            "model_name": texts(1, 0, languages[:1]),
            "model_number": [{"value": f"{brand[:3]}-{rng.randrange(10**6)}"}],
            "model_year": [{"language_tag": languages[0], "value": rng.randrange(2010, 2021)}],
            "node": [
                {"node_id": rng.randrange(10**9, 10**10), "path": f"/Categories/{self._texts('en', 1, 0)[0]}/{kind}"}
                for _ in range(2)
            ],
            "other_image_id": images[1:],
            "pattern": word("Solid"),
            "product_description": texts(1, 4, languages[:1]),
            "product_type": [{"value": kind}],
            "spin_id": f"{code}S",
            "style": word("Modern"),
            "3dmodel_id": f"{code}M",
        }
        return {key: value for key, value in record.items() if rng.random() < _SHARE.get(key, 1)}

    def brief_record(self, number: int) -> dict[str, Any]:
        """Return one listing with only the keys that a sample is drawn by."""
        kind, brand, color = map(self._one, (self._types, self._brands, self._colors))
        values = {"product_type": kind, "brand": brand, "color": color, "material": self._rng.choice(_MATERIALS)}
        # As long as ABO's, and hardly compressible, so that the shards are worth several processes as ABO's are.
        values["item_name"] = self._rng.randbytes(64).hex()
        code = f"{self._shard}{number:08X}"
        return {"item_id": f"B{code}", "domain_name": "amazon.com", "main_image_id": f"{code}A"} | {
            key: [{"language_tag": "en_US", "value": value}]
            for key, value in values.items()
            if self._rng.random() < _SHARE.get(key, 1)
        }

    def _one(self, tail: _Tail) -> str:
        return self._rng.choices(tail[0], cum_weights=tail[1])[0]

    def _texts(self, tag: str, count: int, length: int) -> list[str]:
        """Return texts of one phrase each, or of three for every unit of length; a listing repeats itself."""
        phrases, weights = self._phrases[tag[:2]]
        own = self._rng.choices(phrases, cum_weights=weights, k=OWN_PHRASES)
        drawn = self._rng.choices(own, k=count * (1 + 3 * length))
        return [" ".join(drawn[place::count]) for place in range(count)]


# How many listings have a key: ABO's for color, material, brand and main image, a guess for the others.
_SHARE = {
    "color": 0.79, "material": 0.36, "brand": 0.9996, "main_image_id": 0.996, "color_code": 0.2, "fabric_type": 0.15,
    "finish_type": 0.1, "item_dimensions": 0.6, "item_shape": 0.1, "item_weight": 0.7, "model_name": 0.4,
    "model_number": 0.7, "model_year": 0.15, "other_image_id": 0.8, "pattern": 0.1, "product_description": 0.15,
    "spin_id": 0.06, "style": 0.4, "3dmodel_id": 0.05,
}  # fmt: skip


def _phrases(rng: random.Random, language: str) -> _Tail:
    """Return phrases of two to four made-up words, common words more often than rare ones."""
    letters = [chr(code) for code in _ALPHABETS[language]] if language in _ALPHABETS else list("etaoinshrdlucmfwgp")
    words, weights = _long_tail(["".join(rng.choices(letters, k=rng.randrange(2, 10))) for _ in range(4000)])
    phrases = {" ".join(rng.choices(words, cum_weights=weights, k=rng.randrange(2, 5))) for _ in range(PHRASES)}
    return _long_tail(sorted(phrases))


def _long_tail(values: list[str]) -> _Tail:
    return values, list(accumulate(1 / (number + 8) for number in range(len(values))))


def write_catalog(folder: Path, listings: int, image_rows: int, seed: int = 1, brief: bool = False) -> dict[str, int]:
    """Write both archives of a catalog of that many listings; return their bytes, packed and unpacked.

    brief: listings have only the keys that a sample is drawn by.
    """
    folder.mkdir(parents=True, exist_ok=True)
    counts = [listings // 16 + (number < listings % 16) for number in range(16)]
    with ProcessPoolExecutor(2) as pool:
        shards = pool.map(
            _shard, [(seed, shard, count, image_rows, brief) for shard, count in zip(SHARDS, counts, strict=True)]
        )
        unpacked = 0
        with tarfile.open(folder / "abo-listings.tar", "w") as tar:
            for name, (data, length) in zip(SHARDS, shards, strict=True):
                unpacked += length
                _add(tar, f"listings/metadata/listings_{name}.json.gz", data)
    _write_images(folder / "abo-images-small.tar", counts, image_rows)
    return {"unpacked": unpacked, "packed": (folder / "abo-listings.tar").stat().st_size}


def _shard(task: tuple[int, str, int, int, bool]) -> tuple[bytes, int]:
    return Writer(*task).pack()


def _write_images(path: Path, counts: list[int], image_rows: int) -> None:
    """Every image is a whole JPEG of its own, as small as one gets: 8 by 8 pixels and a comment with its number."""
    picture = io.BytesIO()
    Image.new("L", (8, 8), 128).save(picture, "JPEG", optimize=True)
    start, rest = picture.getvalue()[:2], picture.getvalue()[2:]
    mains = [f"{shard}{number:08X}A" for shard, count in zip(SHARDS, counts, strict=True) for number in range(count)]
    others = (f"{main[:-1]}{letter}" for letter in "BCDEFGH" for main in mains)
    ids = mains + [next(others) for _ in range(image_rows - len(mains))]
    # Scattered as ABO's, whose paths are hashes: neighbors in the archive are strangers in the table.
    random.Random(0).shuffle(ids)
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("image_id", "height", "width", "path"))
    paths = [f"{number & 255:02x}/{number:08x}.jpg" for number in range(image_rows)]
    rows.writerows((key, 2000, 1500, place) for key, place in zip(ids, paths, strict=True))
    with path.open("wb") as archive, tarfile.open(fileobj=archive, mode="w") as tar:
        _add(tar, "images/metadata/images.csv.gz", zlib.compress(table.getvalue().encode(), wbits=31))
    with path.open("r+b") as archive:
        archive.seek(-(-_end(path) // 512) * 512)
        for number, place in enumerate(paths):
            data = start + b"\xff\xfe\x00\x0a" + f"{number:08d}".encode() + rest
            archive.write(_header(f"images/small/{place}", len(data)) + data + bytes(-len(data) % 512))
        archive.write(bytes(1024))


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _header(name: str, length: int) -> bytes:
    """Return what tarfile writes for a plain file, in a fifth of its time."""
    start, end = _frame(length)
    checksum = sum(start) + sum(end) + sum(name.encode()) + 8 * ord(" ")
    return b"%b%b%06o\0 %b" % (name.encode().ljust(100, b"\0"), start, checksum, end)


@cache
def _frame(length: int) -> tuple[bytes, bytes]:
    """Return the parts of a header between name and checksum and after it."""
    info = tarfile.TarInfo()
    info.size = length
    header = info.tobuf(tarfile.USTAR_FORMAT)
    return header[100:148], header[156:]


def _end(path: Path) -> int:
    with tarfile.open(path) as tar:
        return max(member.offset_data + member.size for member in tar)
