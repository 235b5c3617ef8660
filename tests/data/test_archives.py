"""Reading ABO's archives: every value form, every kind of damage."""

import gzip
import json
import tarfile
from pathlib import Path

import pytest
from small_archives import image_path, images_tar, jpeg, listing, listings_tar, real_data, record, write_tar

from abo_vqa.catalog.archives import ImageArchive, image_problem, read_listings
from abo_vqa.catalog.listing import Listing
from abo_vqa.errors import InputError


def test_a_listing_reads_every_fact():
    found = listing(3)
    assert found.product_id == "B000000003@amazon.com"
    assert (found.color, found.material, found.shape) == ("Dark Blue", "Ceramic", "Rectangular")
    assert found.bullets == ("Shown with 3 flowers",)
    assert (found.height, found.width, found.length) == (7, 6, None)
    assert found.english == ("brand", "color", "item_name", "material", "shape")


def test_product_type_is_read_in_both_forms():
    assert listing(1, product_type="SHOES").product_type == "SHOES"
    assert listing(1, product_type=[{"value": "SHOES"}]).product_type == "SHOES"
    assert listing(1, product_type=None).product_type == "UNKNOWN"


@pytest.mark.parametrize("tag", ["en", "en_IN", "en-GB", "EN_us"])
def test_english_is_preferred_over_an_earlier_language(tag):
    values = [{"language_tag": "es_MX", "value": "rojo"}, {"language_tag": tag, "value": "red"}]
    assert listing(1, color=values).color == "red"


def test_without_english_the_first_value_stays_but_is_not_called_english():
    values = [{"language_tag": "de_DE", "value": "rot"}, {"language_tag": "enm", "value": "reed"}]
    found = listing(1, color=values)
    assert found.color == "rot" and "color" not in found.english


@pytest.mark.parametrize("strange", [None, 7, [], [3], [{"value": 5}], [{"language_tag": "en"}], {"a": 1}, [[]]])
def test_strange_values_are_missing_values(strange):
    found = listing(1, color=strange, item_dimensions=strange, bullet_point=strange)
    assert found.color is None and found.height is None and found.bullets == ()


def test_all_shards_are_read_and_malformed_lines_named(tmp_path: Path):
    lines = [record(number) for number in range(32)]
    lines[16] = b'{"item_id": "B1", "domain'
    lines[17] = json.dumps({"item_id": "B2"}).encode()
    lines[18] = b"\xff\xfe broken"
    lines[19] = b"[" * 100_000
    read = read_listings(listings_tar(tmp_path / "l.tar", lines))
    assert read.shards == 16 and len(read.listings) == 28
    assert [(line.shard, line.line) for line in read.malformed] == [
        (f"listings_{shard}.json.gz", 2) for shard in "0123"
    ]
    assert read.malformed[1].problem == "no domain_name"


def test_half_a_surrogate_pair_can_be_stored():
    assert listing(1, color="bl\ud800ue").color == "bl?ue"


def test_missing_archive(tmp_path: Path):
    for opening in (read_listings, ImageArchive):
        with pytest.raises(InputError, match=r"nowhere\.tar: not found"):
            opening(tmp_path / "nowhere.tar")


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 100, gzip.compress(b"x" * 5000)])
def test_not_a_tar(tmp_path: Path, content: bytes):
    path = tmp_path / "bad.tar"
    path.write_bytes(content)
    for opening in (read_listings, ImageArchive):
        with pytest.raises(InputError, match=r"bad\.tar: not an uncompressed tar"):
            opening(path)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.77, 0.9])
def test_truncated_archives_are_refused_wherever_they_end(tmp_path: Path, share: float):
    lines, images = tmp_path / "l.tar", tmp_path / "i.tar"
    listings_tar(lines, [record(number) for number in range(64)])
    images_tar(images, {number: jpeg(number) for number in range(64)})
    for path, opening in ((lines, read_listings), (images, ImageArchive)):
        with tarfile.open(path) as tar:
            end = max(member.offset_data + member.size for member in tar.getmembers())
        path.write_bytes(path.read_bytes()[: int(end * share)])
        with pytest.raises(InputError, match="truncated or damaged"):
            opening(path)


def test_an_archive_cut_between_two_members_is_refused(tmp_path: Path):
    path = images_tar(tmp_path / "i.tar", {number: jpeg(number) for number in range(8)})
    with tarfile.open(path) as tar:
        cut = tar.getmembers()[5].offset
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match="end mark is missing"):
        ImageArchive(path)


def test_a_truncated_shard_in_a_whole_archive_is_named(tmp_path: Path):
    shard = gzip.compress(json.dumps(record(1)).encode())
    path = write_tar(tmp_path / "l.tar", [("listings/metadata/listings_a.json.gz", shard[: len(shard) // 2])])
    with pytest.raises(InputError, match=r"listings_a\.json\.gz is truncated or damaged"):
        read_listings(path)


def test_an_archive_without_shards_or_without_images_is_refused(tmp_path: Path):
    images = images_tar(tmp_path / "i.tar", {1: jpeg(1)})
    listings = listings_tar(tmp_path / "l.tar", [record(1)])
    with pytest.raises(InputError, match="holds no listings_"):
        read_listings(images)
    with pytest.raises(InputError, match=r"holds no images/metadata/images\.csv\.gz"):
        ImageArchive(listings)
    with pytest.raises(InputError, match=r"holds no images/small/"):
        ImageArchive(images_tar(tmp_path / "none.tar", {}))


def test_images_are_read_by_offset_and_known_by_id(tmp_path: Path):
    images = {number: jpeg(number) for number in range(20)}
    path = images_tar(tmp_path / "i.tar", images, unnamed=[3], absent=[99])
    with ImageArchive(path) as archive:
        assert len(archive) == 20 and archive.absent == 1
        assert "img3" not in archive.paths and "img99" not in archive.paths
        assert all(archive.read(image_path(number)) == data for number, data in images.items())


def test_a_truncated_image_is_told_from_a_whole_one():
    whole = jpeg(5)
    assert image_problem(whole) is None
    for share in (0.3, 0.6, 0.95):
        assert "truncated" in (image_problem(whole[: int(len(whole) * share)]) or "").lower()
    assert image_problem(b"no image") == "not an image"


def test_the_real_archives_read_completely():
    archives = real_data() / "archives"
    read = read_listings(archives / "abo-listings.tar")
    assert (read.shards, len(read.listings), read.malformed) == (16, 8179, [])
    with ImageArchive(archives / "abo-images-small.tar") as images:
        assert (len(images), len(images.paths), images.absent) == (11644, 10006, 0)
        known: list[Listing] = [row for row in read.listings if row.image_id in images.paths]
        assert len(known) == 8179
        assert image_problem(images.read(images.paths[str(known[0].image_id)])) is None
