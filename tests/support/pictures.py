"""Image files that are hostile or broken, each with the words that refuse it."""

import io
import struct
import zlib

from PIL import Image


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG file that declares a size and holds next to nothing of it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def encoded(form: str, size: tuple[int, int] = (64, 64)) -> bytes:
    with io.BytesIO() as file:
        Image.new("RGB", size, (200, 30, 30)).save(file, form)
        return file.getvalue()


WHOLE = encoded("JPEG", (400, 400))
REFUSED = {
    "bomb": (png(30_000, 30_000), "declares more than 50 million pixels"),
    "small bomb": (png(8_000, 8_000), "declares 8000 x 8000 pixels"),
    "line": (encoded("PNG", (5_000, 1)), "one side more than 100 times the other"),
    "text": (b"%PDF-1.7 not an image at all", "28 bytes that are no JPEG, PNG, WEBP, GIF or BMP image"),
    "nothing": (b"", "0 bytes that are no"),
    "truncated JPEG": (WHOLE[: len(WHOLE) // 2], "the image is broken"),
    "truncated PNG": (encoded("PNG")[:60], "the image is broken"),
    "PNG without pixels": (png(64, 64), "the image is broken"),
    "another format": (encoded("TIFF"), "that are no JPEG"),
    "too large": (WHOLE + bytes(20_000_000), "more than 20 MB"),
}
