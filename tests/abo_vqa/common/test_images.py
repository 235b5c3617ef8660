"""Image files of every kind are opened as viewers show them, or named."""

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from abo_vqa.common.errors import InputError
from abo_vqa.common.storage import BadImage, NotAnImage, TooManyPixels, decode_image, open_image
from shared_cases import shared_cases


def encoded(image: Image.Image, form: str = "PNG", **how: Any) -> bytes:
    packed = io.BytesIO()
    image.save(packed, form, **how)
    return packed.getvalue()


def corners(image: Image.Image) -> list[str]:
    """The colors at the corners, from the upper left one clockwise, by their strongest channels."""
    names = {(1, 0, 0): "r", (0, 1, 0): "g", (0, 0, 1): "b", (1, 1, 1): "w", (0, 0, 0): "k"}
    right, low = image.width - 1, image.height - 1
    places = ((0, 0), (right, 0), (right, low), (0, low))
    pixels = (np.array(image)[y, x] for x, y in places)
    return [names[tuple(int(value > 128) for value in pixel)] for pixel in pixels]


def marked(mode: str = "RGB") -> Image.Image:
    """Wider than high, its corners red, green, blue and black."""
    picture = Image.new("RGB", (48, 32), "white")
    for color, place in (("red", (0, 0)), ("lime", (32, 0)), ("blue", (32, 16)), ("black", (0, 16))):
        picture.paste(color, (*place, place[0] + 16, place[1] + 16))
    return picture.convert(mode)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "seen"),
    list(enumerate(("rgbk", "grkb", "bkrg", "kbgr", "rkbg", "krgb", "bgrk", "gbkr"), 1)),
)
def test_an_image_is_turned_as_its_exif_data_says(form: str, orientation: int, seen: str):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode_image(encoded(marked(), form, exif=exif, **({} if form in ("PNG", "TIFF") else {"quality": 95})))
    assert "".join(corners(image)) == seen
    assert image.size == ((48, 32) if orientation < 5 else (32, 48)) and image.mode == "RGB"


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"nonsense" * 40])
def test_damaged_exif_data_leaves_the_picture(exif: bytes):
    assert "".join(corners(decode_image(encoded(marked(), "JPEG", exif=exif, quality=95)))) == "rgbk"


@pytest.mark.parametrize(
    ("mode", "how"),
    [
        ("RGBA", {}),
        ("LA", {}),
        ("P", {"transparency": 0}),
        ("L", {"transparency": 0}),
        ("RGB", {"transparency": (0, 0, 0)}),
        ("I;16", {"transparency": 0}),
    ],
)
def test_transparent_parts_are_white_and_black_products_stay_black(mode: str, how: dict[str, Any]):
    if mode in ("RGBA", "LA"):
        picture = Image.new(mode, (4, 4), 0)
        picture.putpixel((1, 1), (0, 255) if mode == "LA" else (0, 0, 0, 255))
        picture.putpixel((2, 2), (0, 127) if mode == "LA" else (0, 0, 0, 127))
    else:
        picture = Image.new(mode, (4, 4), 0)
        picture.putpixel((1, 1), (1, 1, 1) if mode == "RGB" else 1)
    if mode == "P":
        picture.putpalette([0] * 768)
    image = decode_image(encoded(picture, **how))
    assert image.mode == "RGB" and image.getpixel((0, 0)) == (255, 255, 255)
    assert max(image.getpixel((1, 1))) <= 1
    if mode in ("RGBA", "LA"):
        assert image.getpixel((2, 2)) == (128, 128, 128)


@pytest.mark.parametrize(
    ("values", "form"),
    [
        (np.linspace(0, 65535, 256).astype(np.uint16), "PNG"),
        (np.linspace(0, 65535, 256).astype(np.uint16), "TIFF"),
        (np.linspace(0, 65535, 256).astype(np.int32), "TIFF"),
        (np.linspace(0, 2**31 - 1, 256).astype(np.int32), "TIFF"),
        (np.linspace(-500, 500, 256).astype(np.int32), "TIFF"),
        (np.linspace(0, 1, 256).astype(np.float32), "TIFF"),
        (np.linspace(-3, 9000, 256).astype(np.float32), "TIFF"),
    ],
)
def test_16_and_32_bits_are_scaled_to_8(values: np.ndarray, form: str):
    found = np.asarray(decode_image(encoded(Image.fromarray(values.reshape(16, 16)), form)))[..., 0].reshape(-1)
    assert np.abs(found.astype(int) - np.arange(256)).max() <= 1


def test_dark_16_bits_stay_dark_and_what_is_no_number_is_black():
    dark = Image.fromarray(np.full((4, 4), 2570, np.uint16))
    assert decode_image(encoded(dark)).getpixel((0, 0)) == (10, 10, 10)
    flat = np.full((4, 4), np.nan, np.float32)
    flat[0, 0] = 1
    image = decode_image(encoded(Image.fromarray(flat), "TIFF"))
    assert [image.getpixel(place)[0] for place in ((0, 0), (1, 1))] == [255, 0]


@pytest.mark.parametrize(("mode", "form"), [("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "JPEG"), ("P", "PNG")])
def test_other_colors_become_rgb(mode: str, form: str):
    image = decode_image(encoded(marked(mode), form))
    assert "".join(corners(image)) == "rgbk" and image.mode == "RGB"


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_counts(form: str):
    first, *others = (Image.new("RGB", (16, 16), color) for color in ("red", "blue", "lime"))
    image = decode_image(encoded(first, form, save_all=True, append_images=others))
    assert set(corners(image)) == {"r"}


@given(st.integers(0, 2**32 - 1))
def test_an_ordinary_photograph_keeps_its_bytes(seed: int):
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 13, 3), np.uint8)
    for data in (encoded(Image.fromarray(pixels), "JPEG"), encoded(Image.fromarray(pixels[..., 0]), "JPEG")):
        with Image.open(io.BytesIO(data)) as image:
            assert decode_image(data).tobytes() == image.convert("RGB").tobytes()


def big_text() -> bytes:
    text = PngInfo()
    text.add_text("comment", "x" * 3_000_000, zip=True)
    return encoded(marked(), pnginfo=text)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (encoded(marked(), "JPEG")[:-150], "(?i)truncated"),
        (encoded(marked())[:-40], "truncated|unrecognized data stream|incomplete"),
        (encoded(marked(), "GIF")[:30], "not an image|truncated|unrecognized|IndexError|index"),
        (big_text(), "too large"),
        (b"no image", "not an image"),
        (b"", "not an image"),
        (b"\xff\xd8\xff", "not an image"),
        (b"%PDF-1.4 " + bytes(99), "not an image"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_damage_is_named_with_the_question_it_belongs_to(data: bytes, problem: str):
    with pytest.raises(BadImage, match=problem):
        decode_image(data)
    with pytest.raises(InputError, match="q-7: its image cannot be read"):
        open_image("q-7", data)


def test_a_bomb_is_refused_before_a_pixel_is_decoded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(TooManyPixels):
        decode_image(encoded(marked()))
    assert not issubclass(TooManyPixels, NotAnImage)


@given(st.binary(max_size=40), st.integers(0, 10**6), st.sampled_from(["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"]))
def test_damaged_bytes_raise_nothing_else(noise: bytes, place: int, form: str):
    data = encoded(marked("P" if form == "GIF" else "RGB"), form)
    place %= len(data)

    def check_size(width: int, height: int) -> None:
        if width * height > 10**6:
            raise BadImage("larger than this test's time")

    try:
        image = decode_image(data[:place] + noise + data[place + len(noise) :], check_size=check_size)
    except BadImage:
        return
    assert image.mode == "RGB"


def test_the_odd_images_that_people_bring_are_shown_or_named():
    cases = shared_cases()
    images = {path.name: path.read_bytes() for path in (cases / "oddimages").iterdir()}
    assert decode_image(images["exif6.jpg"]).size == (80, 160)
    assert decode_image(images["transparent_black_product.png"]).getpixel((0, 0)) == (255, 255, 255)
    gray = np.asarray(decode_image(images["gray16.png"]))
    assert 0 < gray.min() < 100 < gray.max() < 255
    decode_image(images["plain.jpg"])
    for name in ("odd_truncated.jsonl", "odd_png_big_text.jsonl"):
        asked = [json.loads(line)["image"] for line in (cases / name).read_text().splitlines()]
        for image in asked:
            if image != "plain.jpg":
                with pytest.raises(BadImage):
                    decode_image(images[image])
