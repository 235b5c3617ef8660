"""The memory of the catalog stage: a few bytes for each listing and image, whatever their texts are."""

import gc
import gzip
import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pytest

from abo_vqa.catalog.archives import read_listings
from abo_vqa.catalog.images import ImageArchive
from abo_vqa.catalog.pool import candidates
from small_archives import hashed, image_path, images_tar, listings_tar, record, write_tar

FEW, MANY = 400, 4000
LONG = "a name of some length " * 50


def kept() -> int:
    """Bytes that numpy, Python and pyarrow hold."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes()


@pytest.fixture(autouse=True)
def traced():
    tracemalloc.start()
    yield
    tracemalloc.stop()


def test_ten_times_the_listings_take_few_bytes_each_however_long_their_texts_are(tmp_path: Path):
    taken = {}
    for count in (FEW, FEW, MANY):
        lines = [record(number, item_name=f"{LONG} {number}") for number in range(count)]
        assert sum(len(json.dumps(line)) for line in lines) > 1000 * count
        archive = listings_tar(tmp_path / f"{count}.tar", lines)
        images_path = images_tar(tmp_path / f"i{count}.tar", {number: b"x" for number in range(count)})
        with ImageArchive(images_path) as images:
            before = kept()
            read = read_listings(archive, ["product_type", "brand", "item_name"])
            assert len(read.listings) == count
            with_columns = kept() - before
            pool, _ = candidates(read.listings, images)
            assert len(pool) == count
            taken[count] = with_columns, kept() - before
        assert len(set(pool.facts["stratum"].to_pylist())) == count, "the names are in the hashes"
    reading, pooled = ((many - few) / (MANY - FEW) for few, many in zip(taken[FEW], taken[MANY], strict=True))
    assert reading < 8, "the columns are in a file"
    assert 20 < pooled < 120


def test_ten_times_the_images_take_few_bytes_each(tmp_path: Path):
    taken = {}
    for count in (FEW, FEW, MANY):  # the first time also loads what is loaded once
        path = images_tar(tmp_path / f"{count}.tar", {number: b"x" for number in range(count)})
        before = kept()
        with ImageArchive(path) as images:
            assert len(images) == count
            taken[count] = kept() - before
    assert 8 <= (taken[MANY] - taken[FEW]) / (MANY - FEW) < 24


def test_an_image_with_a_long_name_is_read_by_its_header(tmp_path: Path):
    path = "a" * 60 + "/" + "b" * 70 + ".jpg"
    table = f"image_id,path\nlong,{path}\nplain,{image_path(1)}\n"
    members = [("images/metadata/images.csv.gz", gzip.compress(table.encode()))]
    members += [(f"images/small/{path}", b"long"), (f"images/small/{image_path(1)}", b"plain")]
    with ImageArchive(write_tar(tmp_path / "i.tar", members)) as images:
        places = images.find(hashed("long", "plain")).tolist()
        assert [images.path_at(place) for place in places] == [path, image_path(1)]
        assert [images.read_at(place) for place in places] == [b"long", b"plain"]
