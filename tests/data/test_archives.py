"""Reading ABO's archives: every value form, every kind of damage."""

import gzip
import io
import json
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_archives import image_path, images_tar, jpeg, listing, listings_tar, real_data, record, write_tar

from abo_vqa.catalog import archives, shard
from abo_vqa.catalog.archives import ImageArchive, image_problem, read_catalogue, read_listings
from abo_vqa.catalog.listing import Listing
from abo_vqa.catalog.tarball import members
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


# Incompressible texts, so that a place in the packed bytes is a place in the lines.
NOISE = [json.dumps(record(n, item_keywords=random.Random(n).randbytes(900).hex())).encode() + b"\n" for n in range(60)]


def damaged(data: bytes, how: str) -> bytes:
    middle = len(data) // 2
    return {
        "truncated": data[:middle],
        "without its last bytes": data[:-3],
        "overwritten": data[:middle] + bytes(2000) + data[middle + 2000 :],
        "with a wrong checksum": data[:-8] + bytes(4) + data[-4:],
        "no gzip at all": b"no gzip at all",
        "empty": b"",
    }[how]


@pytest.mark.parametrize(
    ("how", "kept"),
    [
        ("truncated", 28),
        ("without its last bytes", 60),
        ("overwritten", 20),
        ("with a wrong checksum", 50),
        ("no gzip at all", 0),
        ("empty", 0),
    ],
)
def test_a_damaged_shard_is_named_and_the_lines_before_the_damage_are_kept(tmp_path: Path, how: str, kept: int):
    whole = gzip.compress(json.dumps(record(99)).encode())
    shards = [("listings_a.json.gz", damaged(gzip.compress(b"".join(NOISE)), how)), ("listings_b.json.gz", whole)]
    read = read_listings(write_tar(tmp_path / "l.tar", [(f"listings/metadata/{name}", data) for name, data in shards]))
    (found,) = read.damaged
    assert found.shard == "listings_a.json.gz" and found.problem
    keys = [row.item_id for row in read.listings if row.item_id != "B000000099"]
    assert keys[:kept] == [f"B{number:09d}" for number in range(kept)]
    assert found.lines == len(keys) + len(read.malformed)
    assert kept <= len(keys) <= 60
    assert read.listings[-1].item_id == "B000000099" and read.shards == 2


@pytest.mark.parametrize("end", [b"", b"\0" * 700, gzip.compress(b"".join(NOISE[40:])) + b"\0"])
def test_joined_and_padded_gzip_streams_are_read_as_one(tmp_path: Path, end: bytes):
    data = gzip.compress(b"".join(NOISE[:10])) + gzip.compress(b"".join(NOISE[10:40])) + end
    read = read_listings(write_tar(tmp_path / "l.tar", [("listings/metadata/listings_a.json.gz", data)]))
    assert (len(read.listings), read.lines, read.damaged) == ((60, 60, []) if len(end) > 999 else (40, 40, []))


def test_several_processes_read_what_one_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = listings_tar(tmp_path / "l.tar", [*NOISE, b"{broken"], {"5": 0.5})
    alone = read_listings(path)
    monkeypatch.setattr(archives, "_WORTH_A_PROCESS", 0)
    monkeypatch.setattr(archives.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(shard, "_PACKED_TOGETHER", 2)
    assert read_listings(path) == alone
    assert alone.damaged and alone.malformed and len(alone.listings) > 50


def test_both_archives_are_read_at_once(tmp_path: Path):
    lines = listings_tar(tmp_path / "l.tar", [record(1)])
    read, images = read_catalogue(lines, images_tar(tmp_path / "i.tar", {1: jpeg(1)}))
    with images:
        assert images.read(images.paths[str(read.listings[0].image_id)]) == jpeg(1)
    with pytest.raises(InputError, match=r"nowhere\.tar: not found"):
        read_catalogue(lines, tmp_path / "nowhere.tar")


TEXTS = st.one_of(
    st.none(),
    st.text(max_size=4),
    st.integers(),
    st.lists(
        st.one_of(
            st.none(),
            st.text(max_size=2),
            st.fixed_dictionaries(
                {},
                optional={
                    "value": st.one_of(st.text(max_size=4), st.integers(), st.none()),
                    "language_tag": st.one_of(st.sampled_from(["en_US", "en-GB", "de_DE", "EN", ""]), st.none()),
                    "more": st.booleans(),
                },
            ),
        ),
        max_size=4,
    ),
)
MEASURE = st.fixed_dictionaries(
    {},
    optional={
        "unit": st.one_of(st.sampled_from(["inches", "Feet", "parsec"]), st.none(), st.integers()),
        "value": st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(), st.text(max_size=2)),
    },
)
SIDES = st.dictionaries(
    st.sampled_from(["height", "width", "length", "depth"]),
    st.one_of(
        st.none(), st.tuples(MEASURE, MEASURE).map(lambda pair: pair[0] | {"normalized_value": pair[1]}), MEASURE
    ),
)
RECORDS = st.fixed_dictionaries(
    {"item_id": st.one_of(st.just("B1"), st.text(max_size=2), st.none()), "domain_name": st.just("amazon.com")},
    optional=dict.fromkeys(("brand", "color", "material", "item_shape", "item_name"), TEXTS)
    | {"product_type": TEXTS, "bullet_point": TEXTS, "item_keywords": TEXTS}
    | {"main_image_id": st.one_of(st.text(max_size=2), st.none(), st.integers())}
    | {"item_dimensions": st.one_of(SIDES, st.none(), st.text(max_size=2))},
)


@given(given_record=RECORDS)
@settings(deadline=None, max_examples=300)
def test_the_fast_reader_reads_what_the_tolerant_one_reads(given_record: dict[str, Any]):
    def outcome(read: Callable[[], Listing]) -> Any:
        try:
            return read()
        except ValueError as error:
            return str(error)

    line = json.dumps(given_record, ensure_ascii=len(str(given_record)) % 2 == 0).encode(errors="replace")
    assert outcome(lambda: Listing.from_line(line)) == outcome(lambda: Listing.from_abo(json.loads(line)))


NAMES = st.text("abcü/ .", min_size=1, max_size=120).filter(lambda name: name.strip("/") == name and "//" not in name)


@given(
    contents=st.dictionaries(NAMES, st.binary(max_size=1500), max_size=6),
    form=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    folders=st.booleans(),
)
@settings(deadline=None)
def test_the_members_of_a_tar_are_those_that_tarfile_finds(tmp_path_factory, contents, form, folders):
    path = tmp_path_factory.mktemp("tar") / "x.tar"
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in contents.items():
            if folders:
                folder = tarfile.TarInfo("a folder")
                folder.type = tarfile.DIRTYPE
                tar.addfile(folder)
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1.5 if form == tarfile.PAX_FORMAT else 1
            try:
                tar.addfile(info, io.BytesIO(data))
            except ValueError:
                return  # a name that this format cannot hold
    with tarfile.open(path) as tar:
        expected = [(member.name, member.offset_data, member.size) for member in tar if member.isreg()]
    assert [member for batch in members(path) for member in batch] == expected


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_name_longer_than_the_header_s_field_is_whole(tmp_path: Path, form: int):
    path, name = tmp_path / "x.tar", "a" * 60 + "/" + "b" * 70
    with tarfile.open(path, "w", format=form) as tar:
        tar.addfile(tarfile.TarInfo(name))
    assert [member.name for batch in members(path) for member in batch] == [name]


@pytest.mark.parametrize(("place", "change"), [(p, 0x04) for p in (0, 30, 125, 150, 158, 300)] + [(0, ord("s"))])
def test_a_changed_byte_in_a_tar_header_is_found(tmp_path: Path, place: int, change: int):
    path = write_tar(tmp_path / "x.tar", [(name, b"content") for name in ("first", "second", "third")])
    data = bytearray(path.read_bytes())
    data[1024 + place] ^= change
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"x\.tar: truncated or damaged"):
        list(members(path))


def test_half_a_wiped_header_is_no_end_of_the_archive(tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", [(name, b"content") for name in ("first", "second")])
    data = path.read_bytes()
    path.write_bytes(data[:1024] + bytes(200) + data[1224:])
    with pytest.raises(InputError, match=r"x\.tar: truncated or damaged"):
        list(members(path))


def test_strange_rows_of_the_image_table_are_counted_and_a_damaged_table_is_named(tmp_path: Path):
    table = "image_id,height,width,path\n" + f"img1,1,1,{image_path(1)}\n" + "img2\n\n,1,1,x\nimg3,1,1,\n"
    pictures = [(f"images/small/{image_path(1)}", jpeg(1))]
    packed = gzip.compress(table.encode())
    with ImageArchive(write_tar(tmp_path / "i.tar", [("images/metadata/images.csv.gz", packed), *pictures])) as images:
        assert dict(images.paths) == {"img1": image_path(1)} and images.malformed_rows == 4
    damaged_tar = write_tar(tmp_path / "d.tar", [("images/metadata/images.csv.gz", packed[:-9]), *pictures])
    with pytest.raises(InputError, match=r"images\.csv\.gz is truncated or damaged"):
        ImageArchive(damaged_tar)


def test_bytes_that_are_no_text_are_named_even_where_nobody_looks():
    with pytest.raises(UnicodeDecodeError):
        Listing.from_line(b'{"item_id": "B1", "domain_name": "a", "item_keywords": "\xff\xfe"}')


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
