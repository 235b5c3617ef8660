"""The demo catalog: laid out as ABO's, as dirty as ABO's, the same to the byte, and true of its pictures."""

import csv
import gzip
import hashlib
import io
import json
import random
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from abo_demo import scene as scene_module
from abo_demo.archive import images_readme
from abo_demo.catalog import (
    LISTINGS,
    Entry,
    absent_image,
    plan_catalog,
    truncated_image,
    write_catalog,
)
from abo_demo.contact_sheet import contact_sheet
from abo_demo.products import DRAWINGS, Pen
from abo_demo.scene import Scene, draw_scene, sample_scene, silhouette
from abo_demo.vocabulary import COLORS, MATERIALS, PRODUCT_TYPES, SHAPES, TYPE_BY_NAME
from abo_demo.words import translated
from paths import ROOT

DATA = ROOT / "data"
SEED = 7
SMALL = 60
MAX_BYTES = 8_000_000


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path, "r:") as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]


def lines_of(archive: dict[str, bytes]) -> list[str]:
    shards = [data for name, data in archive.items() if name.endswith(".json.gz")]
    return [line for shard in shards for line in gzip.decompress(shard).decode().splitlines()]


def records_of(archive: dict[str, bytes]) -> tuple[list[dict], int]:
    """The listings, and how many lines are malformed."""
    records, malformed = [], 0
    for line in lines_of(archive):
        try:
            records.append(json.loads(line))
        except ValueError:
            malformed += 1
    return records, malformed


def table_of(archive: dict[str, bytes]) -> dict[str, dict[str, str]]:
    text = gzip.decompress(archive["images/metadata/images.csv.gz"]).decode()
    return {row["image_id"]: row for row in csv.DictReader(io.StringIO(text))}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalog")
    write_catalog(folder, SEED, SMALL)
    return folder


@pytest.fixture(scope="module")
def listings() -> dict[str, bytes]:
    return members(DATA / "abo-listings.tar")


@pytest.fixture(scope="module")
def images() -> dict[str, bytes]:
    return members(DATA / "abo-images-small.tar")


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    return plan_catalog(SEED, LISTINGS)


def share(entries: list[Entry], key: str) -> float:
    return sum(key in entry.record for entry in entries) / len(entries)


def test_archives_are_laid_out_as_abo_publishes_them(listings, images):
    shards = {f"listings/metadata/listings_{shard}.json.gz" for shard in "0123456789abcdef"}
    assert set(listings) == shards | {"listings/README.md", "LICENSE-Apache-2.0.txt"}
    files = {name for name in images if name.startswith("images/small/")}
    assert set(images) - files == {"images/README.md", "images/metadata/images.csv.gz", "LICENSE-Apache-2.0.txt"}
    assert {f"images/small/{row['path']}" for row in table_of(images).values()} == files
    for name in files:
        folder, file = name.split("/")[2:]
        assert file.startswith(folder) and len(file) == 12 and int(file[:8], 16) >= 0


@pytest.mark.parametrize("name", ["abo-listings.tar", "abo-images-small.tar"])
def test_tar_members_are_sorted_and_say_nothing_of_who_made_them(name):
    assert (DATA / name).stat().st_size < MAX_BYTES
    with tarfile.open(DATA / name, "r:") as tar:
        infos = tar.getmembers()
    assert [info.name for info in infos] == sorted(info.name for info in infos)
    assert {(info.mtime, info.uid, info.gid, info.mode, info.uname) for info in infos} == {(0, 0, 0, 0o644, "")}


def test_committed_listings_are_the_planned_ones(listings, entries):
    records, malformed = records_of(listings)
    assert malformed == 1
    assert sorted(map(json.dumps, records)) == sorted(json.dumps(entry.record) for entry in entries)


def test_image_table_gives_the_true_sizes(images):
    broken = 0
    for row in table_of(images).values():
        image = Image.open(io.BytesIO(images[f"images/small/{row['path']}"]))
        assert image.size == (int(row["width"]), int(row["height"])) and max(image.size) <= 256
        try:
            image.load()
        except OSError:
            broken += 1
    assert broken == 1


def test_one_listing_has_a_truncated_image_and_one_has_none(entries, images):
    table = table_of(images)
    main_images = [entry.record.get("main_image_id") for entry in entries]
    assert main_images.count(truncated_image(entries)) == 1
    assert [image for image in main_images if image and image not in table] == [absent_image(entries)]
    with pytest.raises(OSError):
        Image.open(io.BytesIO(images[f"images/small/{table[truncated_image(entries)]['path']}"])).load()


def test_size_and_variety(entries, images):
    assert len(entries) >= 1700
    types = Counter(entry.offer.scene.product.name for entry in entries).most_common()
    assert len(types) >= 60 and [name for name, _ in types[:2]] == ["CELLULAR_PHONE_CASE", "SHOES"]
    assert 0.15 < types[0][1] / len(entries) < 0.2 and 3 <= types[-1][1] <= 8
    assert len({entry.offer.scene.color for entry in entries}) >= 11
    house = sum(entry.offer.brand == "AmazonBasics" for entry in entries) / len(entries)
    assert house == pytest.approx(0.1, abs=0.02)


def test_values_are_missing_in_abos_proportions(entries):
    assert share(entries, "color") == pytest.approx(0.79, abs=0.015)
    assert share(entries, "material") == pytest.approx(0.36, abs=0.015)
    assert share(entries, "item_shape") == pytest.approx(0.70, abs=0.015)
    assert share(entries, "item_dimensions") > 0.7
    assert 1 <= round((1 - share(entries, "brand")) * len(entries)) <= 3
    assert 5 <= round((1 - share(entries, "main_image_id")) * len(entries)) <= 10


def test_a_quarter_is_in_other_languages_half_of_it_without_english(entries):
    others = [entry for entry in entries if not entry.offer.market.speaks_english]
    assert len(others) / len(entries) == pytest.approx(0.25, abs=0.02)
    assert {entry.offer.market.language for entry in others} == {"de_DE", "fr_FR", "es_MX", "it_IT", "ja_JP"}
    tags = [[value["language_tag"] for value in entry.record["item_name"]] for entry in others]
    without = sum(not any(tag.startswith("en") for tag in each) for each in tags)
    assert without / len(others) == pytest.approx(0.5, abs=0.07)


def test_images_are_shared_and_items_sold_twice(entries):
    used = Counter(entry.record["main_image_id"] for entry in entries if "main_image_id" in entry.record)
    assert sum(times == 2 for times in used.values()) / len(used) == pytest.approx(0.01, abs=0.003)
    assert max(used.values()) == 2
    keys = [(entry.record["item_id"], entry.record["domain_name"]) for entry in entries]
    assert len(set(keys)) == len(keys)
    assert sum(times == 2 for times in Counter(item for item, _ in keys).values()) >= 3


def test_numbers_stated_are_even_from_one_to_eight(entries):
    counted = [entry.offer.scene for entry in entries if entry.offer.counted]
    assert len(counted) / len(entries) == pytest.approx(0.75, abs=0.02)
    numbers = Counter(scene.count if scene.parts is None else scene.parts for scene in counted)
    assert set(numbers) == set(range(11))
    middle = [numbers[number] for number in range(1, 9)]
    assert max(middle) < 1.15 * min(middle)


def english(values: list[dict]) -> list[str]:
    return [value["value"] for value in values if value["language_tag"].startswith("en")]


def test_listings_state_what_the_scene_shows(entries):
    for entry in entries:
        scene, record = entry.offer.scene, entry.record
        for key, word in (("color", scene.color), ("material", scene.material), ("item_shape", scene.shape)):
            for value in record.get(key, []):
                assert value["value"].removeprefix("Classic ") == translated(word, value["language_tag"])
        for name in english(record["item_name"]):
            assert scene.product.noun in name.lower() or scene.product.plural in name.lower()
            stated = [int(word) for word in name.replace("-", " ").replace("(", " ").split() if word.isdigit()]
            assert stated == ([scene.count] if entry.offer.counted and scene.parts is None else [])
            assert stated or scene.count == 1
        shown = [text for text in english(record["bullet_point"]) if text.startswith("Shown with")]
        expected = f"Shown with {scene.parts} {scene.product.part}"
        assert shown == ([expected] if scene.parts is not None and entry.offer.in_english else [])


def test_sides_are_those_of_the_drawing(entries):
    for entry in entries:
        if "item_dimensions" in entry.record:
            sides = {side: size["normalized_value"]["value"] for side, size in entry.record["item_dimensions"].items()}
            ratio = silhouette(entry.offer.scene)
            assert ratio is not None and sides["width"] / sides["height"] == pytest.approx(ratio, rel=0.01)


def test_same_seed_gives_the_same_bytes_and_another_seed_others(small, tmp_path):
    write_catalog(tmp_path / "again", SEED, SMALL)
    write_catalog(tmp_path / "other", SEED + 1, SMALL)
    for name in ("abo-listings.tar", "abo-images-small.tar"):
        assert (small / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
        assert (small / name).read_bytes() != (tmp_path / "other" / name).read_bytes()


def test_a_small_catalog_has_all_the_dirt(small):
    records, malformed = records_of(members(small / "abo-listings.tar"))
    table = table_of(members(small / "abo-images-small.tar"))
    assert malformed == 1 and len(records) == SMALL
    assert any("brand" not in record for record in records)
    assert any("main_image_id" not in record for record in records)
    assert any(record.get("main_image_id", next(iter(table))) not in table for record in records)


def test_too_small_a_catalog_is_refused(tmp_path):
    with pytest.raises(ValueError, match="too few"):
        write_catalog(tmp_path, SEED, 39)


@pytest.mark.slow
def test_committed_catalog_is_what_the_code_draws(images, tmp_path):
    if images["images/README.md"].decode() != images_readme():
        pytest.skip("drawn with other versions of Pillow or numpy, which may round a pixel differently")
    write_catalog(tmp_path, SEED, LISTINGS)
    for name in ("abo-listings.tar", "abo-images-small.tar"):
        new, committed = ((folder / name).read_bytes() for folder in (tmp_path, DATA))
        assert hashlib.sha256(new).hexdigest() == hashlib.sha256(committed).hexdigest()


def test_vocabulary_is_complete():
    assert set(DRAWINGS) == set(TYPE_BY_NAME) and len(PRODUCT_TYPES) >= 64
    assert len({product.noun for product in PRODUCT_TYPES}) == len(PRODUCT_TYPES)
    for product in PRODUCT_TYPES:
        assert product.shape in SHAPES and len(product.materials) >= 3 and set(product.materials) <= set(MATERIALS)
    assert sum(product.part is not None for product in PRODUCT_TYPES) >= 8


def on_plain_ground(scene: Scene, seed: int, monkeypatch: pytest.MonkeyPatch, ground: tuple[int, int, int]):
    """The scene's pixels, as int16, before one flat color and without shadows."""
    monkeypatch.setattr(scene_module, "draw_background", lambda size, *_: Image.new("RGB", size, ground))
    monkeypatch.setattr(scene_module, "_shadow", lambda patch, _: Image.new("L", patch.size, 0))
    return np.asarray(draw_scene(scene, random.Random(seed), (160, 160)), dtype=np.int16)


@pytest.mark.parametrize("noun", ["case", "pillow", "mug", "car", "ladder", "speaker"])
def test_every_copy_is_whole_and_apart_from_the_others(noun, monkeypatch):
    product = next(product for product in PRODUCT_TYPES if product.noun == noun)
    for count in range(1, 11):
        for stretch in (0.65, 1.0, 1.55):
            scene = Scene(product, "red", "plastic", count, None, stretch)
            pixels = on_plain_ground(scene, count, monkeypatch, (0, 255, 255))
            drawn = np.abs(pixels - (0, 255, 255)).sum(axis=2) > 60
            assert ndimage.label(drawn, np.ones((3, 3)))[1] == count
            assert not (drawn[0].any() or drawn[-1].any() or drawn[:, 0].any() or drawn[:, -1].any())


@pytest.mark.parametrize("color", COLORS)
def test_the_color_drawn_is_the_one_stated(color, monkeypatch):
    names, values = list(COLORS), np.array(list(COLORS.values()))
    for number, material in enumerate(MATERIALS):
        # Glass lets the ground through, which is gray here so as to add no color of its own.
        ground = (128, 128, 128) if material == "glass" else (0, 255, 255)
        scene = Scene(TYPE_BY_NAME["PILLOW"], color, material, 1, None)
        pixels = on_plain_ground(scene, number, monkeypatch, ground)
        drawn = pixels[np.abs(pixels - ground).sum(axis=2) > 12]
        # More than half of a weave is dark gaps between threads.
        middle = np.percentile(drawn, 65 if material == "fabric" else 50, axis=0)
        if material != "glass":
            assert names[int(np.argmin(((values - middle) ** 2).sum(axis=1)))] == color
        elif np.ptp(COLORS[color]) > 60:
            # Seen through to gray it is paler, but of the same hue.
            assert list(np.argsort(middle)) == list(np.argsort(COLORS[color]))


@pytest.mark.parametrize("product", [product for product in PRODUCT_TYPES if product.part], ids=lambda p: p.noun)
def test_each_content_adds_something_to_the_drawing(product):
    pens = []
    for parts in range(11):
        pen = Pen(200, 200, parts, random.Random(0))
        DRAWINGS[product.name](pen)
        pens.append(pen.ink.tobytes() + pen.inked.tobytes())
    assert len(set(pens)) == 11


def test_drawing_depends_on_the_generator_alone():
    scene = sample_scene(random.Random(5))
    first = draw_scene(scene, random.Random(1), (96, 80))
    random.seed(3)
    assert draw_scene(scene, random.Random(1), (96, 80)).tobytes() == first.tobytes() and first.size == (96, 80)
    assert draw_scene(scene, random.Random(2), (96, 80)).tobytes() != first.tobytes()


def test_shape_follows_the_stretch():
    clock = Scene(TYPE_BY_NAME["CLOCK"], "red", "wood", 1, None)
    box = Scene(TYPE_BY_NAME["STORAGE_BOX"], "red", "wood", 1, None)
    assert (clock.shape, replace(clock, stretch=1.4).shape) == ("round", "oval")
    assert (box.shape, replace(box, stretch=0.6).shape) == ("square", "rectangular")


@pytest.mark.parametrize(("count", "parts"), [(0, None), (11, None), (2, 3), (1, 11)])
def test_impossible_scenes_are_refused(count, parts):
    with pytest.raises(ValueError):
        Scene(TYPE_BY_NAME["VASE"], "red", "glass", count, parts)


def test_contact_sheet_shows_the_catalog(small):
    sheet = contact_sheet(small, SEED)
    assert sheet.mode == "P" and len(sheet.getcolors(256) or []) > 20
