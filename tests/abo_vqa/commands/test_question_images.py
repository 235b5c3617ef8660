"""An image is what its bytes or its whole path say, and one that cannot be shown is named before a model is loaded."""

import base64
import io
import tarfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from abo_vqa.commands.question_images import file_name, image_in, read_images
from abo_vqa.commands.question_sets import read_question_set
from abo_vqa.common.errors import InputError


def picture(color: str, kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (32, 32), color).save(data, kind)
    return data.getvalue()


RED, BLUE = picture("red"), picture("blue", "JPEG")
IN_TEXT = base64.b64encode(RED).decode()


@pytest.mark.parametrize(
    "cell",
    [
        RED,
        {"bytes": RED, "path": None},
        {"bytes": RED},
        [{"bytes": RED, "path": float("nan")}],
        [RED],
        IN_TEXT,
        "\n".join(IN_TEXT[place : place + 76] for place in range(0, len(IN_TEXT), 76)),
        f"data:image/png;base64,{IN_TEXT}",
        str({"bytes": RED, "path": None}),
    ],
)
def test_bytes_are_known_by_their_content(cell: Any) -> None:
    name, data = image_in(cell)
    assert data == RED and name == image_in(RED)[0] != image_in(BLUE)[0]


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("a/b.png", "a/b.png"),
        ("./a/../b.png", "b.png"),
        ({"bytes": None, "path": "b.png"}, "b.png"),
        ({"bytes": b"", "path": "b.png"}, "b.png"),
        (["b.png"], "b.png"),
        ("https://a.b/c.png", "https://a.b/c.png"),
        ("images/" + "a" * 80, "images/" + "a" * 80),
        ("a" * 80, "a" * 80),
        (7.0, "7"),
        ("7.0", "7"),
        (None, ""),
        ([], ""),
        (b"", ""),
        ("nan", ""),
        ({"bytes": None, "path": None}, ""),
    ],
)
def test_other_images_are_known_by_their_whole_path(cell: Any, name: str) -> None:
    assert image_in(cell) == (name, None)


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ([RED, BLUE], "2 images in one row; a question is about one"),
        ({"url": "x"}, "the image is an object of url, neither a path nor bytes"),
        (pd.Timestamp("2026-01-01"), "the image is a Timestamp, not a text"),
    ],
)
def test_an_image_of_another_form_is_refused(cell: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        image_in(cell)


def test_images_of_one_path_are_told_apart(tmp_path: Path) -> None:
    cells = [{"bytes": data, "path": "image.png"} for data in (RED, BLUE, RED)]
    rows = [{"image": cell, "question": f"{n}?", "answer": "x"} for n, cell in enumerate(cells)]
    for form in (lambda cell: cell, lambda cell: [cell], lambda cell: cell["bytes"]):
        pd.DataFrame([row | {"image": form(row["image"])} for row in rows]).to_parquet(tmp_path / "x.parquet")
        read, problems = read_question_set(tmp_path / "x.parquet")
        images, wrong = read_images(read, None)
        assert problems == [] and wrong == {} and len(images) == 2
        assert [images[row["image_id"]] for row in read] == [RED, BLUE, RED]


def rows(*names: str) -> list[dict[str, Any]]:
    return [{"image_id": name, "image": None, "image_file": name} for name in names]


def test_a_folder_says_what_is_missing_and_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(RED)
    (tmp_path / "cut.png").write_bytes(RED[:60])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "folder").mkdir()
    names = ["a.png", "cut.png", "text.png", "folder", "gone.png", "x" * 300, "nul\0"]
    images, wrong = read_images(rows(*names), tmp_path)
    assert images == {"a.png": RED}
    assert sorted(wrong) == sorted(names[1:])
    assert "image cut.png cannot be read: " in wrong["cut.png"] and "not an image" in wrong["text.png"]
    assert all("is not in" in wrong[name] for name in names[3:])
    with pytest.raises(InputError, match=r"--images None: not found, but the questions name a\.png"):
        read_images(rows("a.png"), None)


def tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_an_archives_images_are_known_by_their_whole_path(tmp_path: Path) -> None:
    archive = tar(tmp_path / "x.tar", {"images/x/a.png": RED, "images/y/a.png": BLUE, "./images/b.png": BLUE})
    assert read_images(rows("x/a.png", "y/a.png", "b.png"), archive)[0] == {
        "x/a.png": RED,
        "y/a.png": BLUE,
        "b.png": BLUE,
    }
    with pytest.raises(InputError, match=r"images/x/a\.png and images/y/a\.png are two images of the name a\.png"):
        read_images(rows("a.png"), archive)
    # The same picture twice, or one by its whole path.
    assert read_images(rows("a.png"), tar(archive, {"x/a.png": RED, "y/a.png": RED}))[0] == {"a.png": RED}
    for members in ({"x/a.png": RED, "a.png": BLUE, "y/a.png": RED}, {"x/a.png": RED, "y/a.png": RED, "a.png": BLUE}):
        assert read_images(rows("a.png"), tar(archive, members))[0] == {"a.png": BLUE}


def test_file_names_by_a_pattern() -> None:
    cells = {"split": "test", "id": 7.0, "image": None}
    assert file_name("{:0>12}.jpg", "461751", cells) == "000000461751.jpg"
    assert file_name("{split}/{id}/{}", "image.png", cells) == "test/7/image.png"
    for form in ("{gone}", "{:d}", "{", "{0[x]}", "{1}", "{image}"):
        with pytest.raises(InputError, match=r"--image-name .*: does not fit the image a\.png"):
            file_name(form, "a.png", cells)


def test_a_pattern_of_other_columns_tells_images_apart(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,image,question,answer\n3,image.png,?,x\n7,image.png,?,x\n")
    read, _ = read_question_set(tmp_path / "x.csv", "{id}/{}")
    assert [(row["image_id"], row["image_file"]) for row in read] == [("3/image.png",) * 2, ("7/image.png",) * 2]
    read, _ = read_question_set(tmp_path / "x.csv", "{}.jpg")
    assert {(row["image_id"], row["image_file"]) for row in read} == {("image.png", "image.png.jpg")}
