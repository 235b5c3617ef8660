"""Check images, questions and options before anything large is loaded or decoded.

For input over HTTP and the command line; the stages check the experiment's data.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from abo_vqa.common.errors import InputError
from abo_vqa.common.storage import BadImage, NotAnImage, TooManyPixels, decode_image

# Pillow opens many more, some of which run other programs or are not hardened against hostile files.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
MAX_IMAGE_BYTES = 20_000_000
MAX_PIXELS = 50_000_000
# The shorter side is scaled to the model's size: a line of pixels would grow to gigabytes.
MAX_ASPECT = 100
MAX_QUESTION, MAX_OPTION = 1000, 200  # characters
MIN_OPTIONS, MAX_OPTIONS = 2, 26


def read_image(path: Path) -> bytes:
    """Return the bytes of an image file, checked as `check_image` does; InputError names the file."""
    data = read_file(path)
    try:
        check_image(data)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return data


def read_file(path: Path) -> bytes:
    """Return the bytes of a file, of a large one only more than an image may have; InputError names the file."""
    if not os.path.isfile(path):  # unlike Path.is_file, accepts any text
        raise InputError(f"{path}: no such file; give the path of an image")
    try:
        with path.open("rb") as file:
            return file.read(MAX_IMAGE_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def check_image(data: bytes) -> Image.Image:
    """Return the decoded image; InputError unless these are the bytes of a whole image of bearable size.

    What its header declares is looked at before a pixel is decoded.
    """
    return _opened(data, _check_size)


def count_pixels(data: bytes) -> int:
    """Return the pixels that an image's header declares, without decoding any; InputError as of `check_image`."""

    class Counted(Exception):
        pass

    def stop(width: int, height: int) -> None:
        _check_size(width, height)
        raise Counted(width * height)

    try:
        _opened(data, stop)
    except Counted as counted:
        return int(counted.args[0])
    raise AssertionError("every image has a size")


def _opened(data: bytes, check_size: Callable[[int, int], None]) -> Image.Image:
    if len(data) > MAX_IMAGE_BYTES:
        raise InputError(f"the image has more than {MAX_IMAGE_BYTES / 1e6:.0f} MB; give a smaller one")
    kinds = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
    try:
        return decode_image(data, FORMATS, check_size)
    except NotAnImage:
        raise InputError(f"{len(data)} bytes that are no {kinds} image") from None
    except TooManyPixels:
        raise InputError(f"the image declares more than {MAX_PIXELS / 1e6:.0f} million pixels; scale it down") from None
    except BadImage as error:
        raise InputError(f"the image is broken: {error}") from None


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        most = f"{MAX_PIXELS / 1e6:.0f} million pixels"
        raise InputError(f"the image declares {width} x {height} pixels, more than {most}; scale it down")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise InputError(
            f"the image has {width} x {height} pixels, one side more than {MAX_ASPECT} times the other; crop it"
        )


def check_question(question: Any) -> str:
    """Return the question; InputError unless it is a text of at most MAX_QUESTION characters."""
    return _text("question", question, MAX_QUESTION)


def check_options(options: Any) -> tuple[str, ...] | None:
    """Return the options, None for an open question; InputError unless they are 2 to 26 different texts."""
    if options is None:
        return None
    if isinstance(options, str) or not isinstance(options, Sequence):
        raise InputError(
            f"options: must be a list of texts, not {type(options).__name__}; omit it for an open question"
        )
    if not MIN_OPTIONS <= len(options) <= MAX_OPTIONS:
        raise InputError(
            f"options: {len(options)} given, must be {MIN_OPTIONS} to {MAX_OPTIONS}; omit them to ask openly"
        )
    texts = tuple(_text(f"option {place}", option, MAX_OPTION) for place, option in enumerate(options, 1))
    folded = [text.strip().casefold() for text in texts]
    for place, text in enumerate(folded):
        if text in folded[:place]:
            raise InputError(f"option {place + 1}: {texts[place]!r} is a duplicate; give each option once")
    return texts


def _text(name: str, value: Any, longest: int) -> str:
    if value is None:
        raise InputError(f"{name}: is missing; give a text")
    if not isinstance(value, str):
        raise InputError(f"{name}: must be a text, not {type(value).__name__}")
    if not value.strip():
        raise InputError(f"{name}: is empty; give a text")
    if len(value) > longest:
        raise InputError(f"{name}: {len(value)} characters, more than {longest}; shorten it")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{name}: contains half a character ({error.reason}); give valid Unicode") from None
    return str(value)
