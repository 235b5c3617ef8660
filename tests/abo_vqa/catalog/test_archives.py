"""Reading ABO's archives: every value form, every kind of damage."""

import bz2
import gc
import gzip
import io
import json
import lzma
import random
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abo_vqa.catalog import archives, shard
from abo_vqa.catalog.archives import read_catalog, read_listings
from abo_vqa.catalog.gc_paused import gc_paused
from abo_vqa.catalog.images import ImageArchive, image_problem
from abo_vqa.catalog.listing import FACTS, Listing, read_facts
from abo_vqa.catalog.shard import COLUMNS
from abo_vqa.catalog.tarball import members
from abo_vqa.common.errors import InputError
from shared_cases import shared_cases
from small_archives import hashed, image_path, images_tar, jpeg, listing, listings_tar, real_data, record, write_tar


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


def test_half_a_surrogate_pair_can_be_stored(tmp_path: Path):
    assert listing(1, color="bl\ud800ue").color == "bl?ue"
    read = read_listings(listings_tar(tmp_path / "l.tar", [record(1, color="\ud800", main_image_id="\ud800")]))
    assert [(found.color, found.image_id) for found in read.listings] == [("?", "?")]


def test_the_collector_is_off_in_a_block_and_on_again_after_an_error():
    with pytest.raises(ZeroDivisionError), gc_paused():
        assert not gc.isenabled()
        raise ZeroDivisionError
    assert gc.isenabled()
    gc.disable()
    try:
        with gc_paused():
            pass
        assert not gc.isenabled(), "it was off before"
    finally:
        gc.enable()


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
    with pytest.raises(InputError, match="end marker is missing"):
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
    *others, last = read.listings
    keys = [row.item_id for row in others]
    assert keys[:kept] == [f"B{number:09d}" for number in range(kept)]
    assert found.lines == len(keys) + len(read.malformed)
    assert kept <= len(keys) <= 60
    assert last.item_id == "B000000099" and read.shards == 2


@pytest.mark.parametrize("end", [b"", b"\0" * 700, gzip.compress(b"".join(NOISE[40:])) + b"\0"])
def test_joined_and_padded_gzip_streams_are_read_as_one(tmp_path: Path, end: bytes):
    data = gzip.compress(b"".join(NOISE[:10])) + gzip.compress(b"".join(NOISE[10:40])) + end
    read = read_listings(write_tar(tmp_path / "l.tar", [("listings/metadata/listings_a.json.gz", data)]))
    assert (len(read.listings), read.lines, read.damaged) == ((60, 60, []) if len(end) > 999 else (40, 40, []))


def test_several_processes_read_what_one_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = listings_tar(tmp_path / "l.tar", [*NOISE, b"{broken"], {"5": 0.5})
    alone = read_listings(path)
    listings = list(alone.listings)
    monkeypatch.setattr(archives, "_WORTH_A_PROCESS", 0)
    monkeypatch.setattr(archives.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(shard, "_TOGETHER", 2)
    together = read_listings(path)
    assert all(together.listings.column(name).equals(alone.listings.column(name)) for name in COLUMNS.names)
    assert list(together.listings) == listings
    assert (together.lines, together.malformed, together.damaged) == (alone.lines, alone.malformed, alone.damaged)
    assert alone.damaged and alone.malformed and len(alone.listings) > 50


@given(st.permutations(range(30)), st.integers(0, 30))
@settings(max_examples=30)
def test_any_listings_are_read_again_in_the_order_asked_for(tmp_path_factory, order: list[int], count: int):
    lines = [b"{broken" if number % 7 == 3 else record(number) for number in range(35)]
    listings = read_listings(listings_tar(tmp_path_factory.mktemp("l") / "l.tar", lines)).listings
    everything = list(listings)
    assert len(everything) == len(listings) == 30
    assert [listing.product_id for listing in everything] == listings.column("product_id").to_pylist()
    assert listings.read(np.array(order[:count], np.int64)) == [everything[row] for row in order[:count]]


def test_both_archives_are_read_at_once(tmp_path: Path):
    lines = listings_tar(tmp_path / "l.tar", [record(1)])
    read, images = read_catalog(lines, images_tar(tmp_path / "i.tar", {1: jpeg(1)}))
    with images:
        assert images.read_at(int(images.find(read.listings.column("image"))[0])) == jpeg(1)
    with pytest.raises(InputError, match=r"nowhere\.tar: not found"):
        read_catalog(lines, tmp_path / "nowhere.tar")


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
@settings(max_examples=300)
def test_the_fast_reader_reads_what_the_tolerant_one_reads(given_record: dict[str, Any]):
    def outcome(read: Callable[[], Listing]) -> Any:
        try:
            return read()
        except ValueError as error:
            return str(error)

    line = json.dumps(given_record, ensure_ascii=len(str(given_record)) % 2 == 0).encode(errors="replace")
    found = outcome(lambda: Listing.from_line(line))
    assert found == outcome(lambda: Listing.from_abo(json.loads(line)))
    facts = (
        (found.product_id, found.image_id, *(getattr(found, name) for name in FACTS))
        if isinstance(found, Listing)
        else found
    )
    assert outcome(lambda: read_facts(line)) == facts


NAMES = st.text("abcü/ .", min_size=1, max_size=120).filter(lambda name: name.strip("/") == name and "//" not in name)


def found(path: Path) -> list[tuple[str, int, int, int]]:
    rows = (row for batch in members(path) for row in zip(*(column.tolist() for column in batch), strict=True))
    return [(name.decode(errors="surrogateescape"), *places) for name, *places in rows]


@given(
    contents=st.dictionaries(NAMES, st.binary(max_size=1500), max_size=6),
    form=st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    folders=st.booleans(),
)
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
        expected = [
            (str(PurePosixPath(member.name)), member.offset, member.offset_data, member.size)
            for member in tar
            if member.isreg()
        ]
    if any(".." in name.split("/") for name, *_ in expected):
        with pytest.raises(InputError, match="leads out of the archive"):
            found(path)
    else:
        assert [(name or ".", *places) for name, *places in found(path)] == expected


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_name_longer_than_the_header_s_field_is_whole(tmp_path: Path, form: int):
    path, name = tmp_path / "x.tar", "a" * 60 + "/" + "b" * 70
    with tarfile.open(path, "w", format=form) as tar:
        tar.addfile(tarfile.TarInfo(name))
    assert [member for member, *_ in found(path)] == [name]


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


PICTURES = [(f"images/small/{image_path(1)}", jpeg(1))]


def with_table(path: Path, packed: bytes) -> Path:
    return write_tar(path, [("images/metadata/images.csv.gz", packed), *PICTURES])


def test_strange_rows_of_the_image_table_are_counted(tmp_path: Path):
    table = f'image_id,height,width,path\nimg1,1,1,{image_path(1)}\nimg2\n\n,1,1,x\nimg3,1,1,\n"img4",,,"y"\n'
    with ImageArchive(with_table(tmp_path / "i.tar", gzip.compress(table.encode()))) as images:
        assert images.malformed_rows == 4 and images.absent == 1
        places = images.find(hashed("img2", "img1", None, "img4", "", "None")).tolist()
        assert [place >= 0 for place in places] == [False, True, False, False, False, False]
        assert images.path_at(places[1]) == image_path(1)


TABLE = gzip.compress(f"image_id,path\nimg1,{image_path(1)}\n".encode())


@pytest.mark.parametrize(
    ("packed", "problem"),
    [
        (TABLE[:-9], "truncated or damaged"),
        (TABLE[:15] + bytes(9) + TABLE[24:], "truncated or damaged"),
        (b"", "truncated or damaged"),
        (gzip.compress(b""), "truncated or damaged"),
        (gzip.compress(b"image_id,height\nimg1,1\n"), "has no columns image_id and path"),
        (gzip.compress(b"\xff\xfe,height\nimg1,1\n"), "truncated or damaged"),
    ],
)
def test_a_damaged_image_table_is_named(tmp_path: Path, packed: bytes, problem: str):
    with pytest.raises(InputError, match=rf"images\.csv\.gz.* {problem}"):
        ImageArchive(with_table(tmp_path / "d.tar", packed))


def test_an_image_table_need_not_be_text_and_may_name_nothing(tmp_path: Path):
    table = b"image_id,height,path\r\n\xff\xfe,1,\xff.jpg\r\n"
    with ImageArchive(with_table(tmp_path / "i.tar", gzip.compress(table))) as images:
        assert (images.absent, images.malformed_rows) == (1, 0)
    with ImageArchive(with_table(tmp_path / "e.tar", gzip.compress(b"image_id,path\n"))) as images:
        assert images.find(hashed("img1")).tolist() == [-1]


def test_bytes_that_are_no_text_are_named_even_where_nobody_looks():
    with pytest.raises(UnicodeDecodeError):
        Listing.from_line(b'{"item_id": "B1", "domain_name": "a", "item_keywords": "\xff\xfe"}')


def test_an_archive_without_shards_or_without_images_is_refused(tmp_path: Path):
    images = images_tar(tmp_path / "i.tar", {1: jpeg(1)})
    listings = listings_tar(tmp_path / "l.tar", [record(1)])
    with pytest.raises(InputError, match="contains no listings_"):
        read_listings(images)
    with pytest.raises(InputError, match=r"contains no images/metadata/images\.csv\.gz"):
        ImageArchive(listings)
    with pytest.raises(InputError, match=r"contains no images/small/"):
        ImageArchive(images_tar(tmp_path / "none.tar", {}))


def test_images_are_read_by_offset_and_known_by_id(tmp_path: Path):
    images = {number: jpeg(number) for number in range(20)}
    path = images_tar(tmp_path / "i.tar", images, unnamed=[3], absent=[99])
    with ImageArchive(path) as archive:
        assert len(archive) == 20 and archive.absent == 1
        places = archive.find(hashed(*(f"img{number}" for number in (*images, 99)))).tolist()
        assert places[3] == places.pop() == -1
        assert all(archive.path_at(places[number]) == image_path(number) for number in images if number != 3)
        assert all(archive.read_at(places[number]) == data for number, data in images.items() if number != 3)


@pytest.mark.parametrize("form", ["./{}", ".//{}", "/{}", "././{}"], ids=lambda form: form.replace("/", "|"))
def test_members_are_known_however_their_names_begin(tmp_path: Path, form: str):
    listings_tar(tmp_path / "l.tar", [record(number) for number in range(32)])
    images_tar(tmp_path / "i.tar", {number: jpeg(number) for number in range(8)})
    for name in ("l.tar", "i.tar"):
        with tarfile.open(tmp_path / name) as tar:
            members = [(form.format(m.name), tar.extractfile(m).read()) for m in tar]  # type: ignore[union-attr]
        write_tar(tmp_path / f"other-{name}", members)
    read, images = read_catalog(tmp_path / "other-l.tar", tmp_path / "other-i.tar")
    with images:
        assert (read.shards, len(read.listings), len(images), images.absent) == (16, 32, 8, 0)
        places = images.find(hashed("img3")).tolist()
        assert images.path_at(places[0]) == image_path(3) and images.read_at(places[0]) == jpeg(3)


def test_an_archive_made_on_windows_is_read(tmp_path: Path):
    members = [("images\\metadata\\images.csv.gz", TABLE), (f"images\\small\\{image_path(1)}", jpeg(1))]
    with ImageArchive(write_tar(tmp_path / "i.tar", members)) as images:
        assert images.path_at(images.find(hashed("img1")).tolist()[0]) == image_path(1)


@pytest.mark.parametrize("before", ["./", "/", "images/small/", "./images/small/"])
def test_the_table_may_name_images_with_their_folder(tmp_path: Path, before: str):
    table = gzip.compress(f"image_id,path\nimg1,{before}{image_path(1)}\n".encode())
    with ImageArchive(with_table(tmp_path / "i.tar", table)) as images:
        assert images.absent == 0 and images.find(hashed("img1")).tolist()[0] >= 0


def test_images_of_one_name_in_two_folders_are_two(tmp_path: Path):
    table = gzip.compress(b"image_id,path\nx,a/0.jpg\ny,b/0.jpg\nz,A/0.jpg\n")
    names = {"x": "a/0.jpg", "y": "b/0.jpg", "z": "A/0.jpg"}
    members = [(f"images/small/{name}", jpeg(place)) for place, name in enumerate(names.values())]
    with ImageArchive(write_tar(tmp_path / "i.tar", [("images/metadata/images.csv.gz", table), *members])) as images:
        places = images.find(hashed(*names)).tolist()
        assert [images.path_at(place) for place in places] == list(names.values())
        assert [images.read_at(place) for place in places] == [jpeg(0), jpeg(1), jpeg(2)]


def test_a_member_twice_is_refused(tmp_path: Path):
    again = [("images/metadata/images.csv.gz", TABLE), *PICTURES, (PICTURES[0][0], jpeg(2))]
    with pytest.raises(InputError, match=f"contains images/small/{image_path(1)} twice.*--append"):
        ImageArchive(write_tar(tmp_path / "i.tar", again))
    shard = gzip.compress(json.dumps(record(1)).encode())
    twice = [("listings/listings_0.json.gz", shard), ("old/listings_0.json.gz", shard)]
    with pytest.raises(InputError, match=r"contains listings_0\.json\.gz twice"):
        read_listings(write_tar(tmp_path / "l.tar", twice))


@pytest.mark.parametrize(
    ("kind", "problem"), [(tarfile.SYMTYPE, "is a link to x"), (tarfile.LNKTYPE, "is a link to x.*--hard-dereference")]
)
def test_links_in_place_of_files_are_refused(tmp_path: Path, kind: bytes, problem: str):
    with tarfile.open(tmp_path / "i.tar", "w") as tar:
        info = tarfile.TarInfo(f"images/small/{image_path(1)}")
        info.type, info.linkname = kind, "x"
        tar.addfile(info)
    with pytest.raises(InputError, match=problem):
        list(members(tmp_path / "i.tar"))


@pytest.mark.parametrize("form", ["gnu", "0.0", "0.1", "1.0"])
def test_sparse_files_are_refused(tmp_path: Path, form: str):
    tool = shutil.which("tar")
    if tool is None or "GNU" not in subprocess.run([tool, "--version"], capture_output=True, text=True).stdout:
        pytest.skip("no GNU tar")
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(b"content")
    how = ["--format=gnu"] if form == "gnu" else ["--format=pax", f"--sparse-version={form}"]
    command = [tool, *how, "--sparse", "--hole-detection=raw", "-cf", "s.tar", "a.jpg"]
    subprocess.run(command, cwd=tmp_path, check=True)
    with pytest.raises(InputError, match=r"a\.jpg is a sparse file; make the archive again without tar --sparse"):
        list(members(tmp_path / "s.tar"))


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (gzip.compress(b"x" * 5000), "gunzip it first"),
        (b"PK\x03\x04" + b"x" * 5000, "ZIP archive: unpack it"),
        (bz2.compress(b"x" * 5000), "bunzip2"),
        (lzma.compress(b"x" * 5000), "unxz"),
        (b"\x28\xb5\x2f\xfd" + b"x" * 5000, "unzstd"),
        (b"x" * 5000, "download the archive again"),
    ],
)
def test_other_archives_are_refused_with_what_to_do(tmp_path: Path, content: bytes, hint: str):
    (tmp_path / "i.tar").write_bytes(content)
    with pytest.raises(InputError, match=f"not an uncompressed tar archive.*{hint}"):
        ImageArchive(tmp_path / "i.tar")


def test_an_archive_with_other_folders_is_refused_with_what_it_has(tmp_path: Path):
    path = write_tar(tmp_path / "i.tar", [("Images/Small/00/a.jpg", jpeg(1)), ("images/metadata/images.csv.gz", TABLE)])
    with pytest.raises(InputError, match=r"contains no images/small/\*, but Images/Small/00/a\.jpg"):
        ImageArchive(path)


@pytest.mark.parametrize(("name", "images"), [("ok", 60), ("dot_slash", 60), ("same_stem", 60)])
def test_the_archives_that_people_bring_are_read(name: str, images: int):
    folder = shared_cases() / "archives"
    read, archive = read_catalog(folder / f"{name}-l.tar", folder / f"{name}-i.tar")
    with archive:
        places = archive.find(read.listings.column("image"))
        assert (len(archive), archive.absent) == (images, 0) and min(places.tolist()) >= 0
        paths = {archive.path_at(place) for place in places.tolist()}
        assert len(paths) == len(set(places.tolist())) == 60


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
        assert (len(images), images.absent) == (11644, 0)
        places = images.find(read.listings.column("image")).tolist()
        assert min(places) >= 0
        assert image_problem(images.read_at(places[0])) is None
