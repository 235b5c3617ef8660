"""Index an uncompressed tar archive without reading the contents, fast enough for ABO's 400,000 members."""

import mmap
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from abo_vqa.common.errors import InputError

AGAIN = "download the archive again"
BLOCK = tarfile.BLOCKSIZE
_NAME, _LENGTH, _CHECKSUM, _KIND, _PREFIX = slice(0, 100), slice(124, 135), slice(148, 156), 156, 345
_BATCH = 4096
_NOT_PLAIN = re.compile(rb"\n[./]|\\|//|/\.|\.\.")
# How other archives begin, and how to make a plain one of each.
_OTHERS = {
    b"\x1f\x8b": "it is compressed with gzip: gunzip it first",
    b"PK": "it is a ZIP archive: unpack it, then tar -cf",
    b"BZh": "it is compressed with bzip2: bunzip2 it first",
    b"\xfd7zXZ": "it is compressed with xz: unxz it first",
    b"\x28\xb5\x2f\xfd": "it is compressed with zstd: unzstd it first",
    b"7z\xbc\xaf": "it is a 7-Zip archive: unpack it, then tar -cf",
    b"Rar!": "it is a RAR archive: unpack it, then tar -cf",
}


class Members(NamedTuple):
    """Regular files of the archive as columns.

    names: with slashes, without "./" or "/" before them. headers: positions of their headers. offsets, lengths: of
    their contents, in bytes.
    """

    names: NDArray[np.bytes_]
    headers: NDArray[np.int64]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]


def members(path: Path) -> Iterator[Members]:
    """Yield every regular file of the archive in order, thousands at a time.

    InputError: missing file, not a tar, truncated anywhere, a damaged header, or a member that is a link, sparse, or
    named with "..".
    """
    if not path.is_file():
        raise InputError(f"{path}: not found; put ABO's archive there, or correct sample.listings / sample.images")
    try:
        archive = tarfile.open(path, "r:")
    except (tarfile.TarError, OSError) as error:
        with path.open("rb") as file:
            begins = file.read(8)
        hint = next((how for start, how in _OTHERS.items() if begins.startswith(start)), AGAIN)
        raise InputError(f"{path}: not an uncompressed tar archive ({error}); {hint}") from None
    with (
        archive,
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        try:
            for batch in _members(archive, content):
                yield batch._replace(names=_plain_names(batch.names))
        except _Refused as refused:
            raise InputError(f"{path}: {refused}") from None
        except (tarfile.TarError, OSError) as error:
            raise InputError(f"{path}: truncated or damaged ({error}); {AGAIN}") from None


class _Refused(Exception):
    """A member that cannot be read where it is."""


def _problem(member: tarfile.TarInfo) -> str | None:
    if member.issym() or member.islnk():
        return (
            f"is a link to {member.linkname}; make the archive again with tar --dereference --hard-dereference, which "
            "stores files in place of links"
        )
    return "is a sparse file; make the archive again without tar --sparse" if member.issparse() else None


def plain_name(name: str) -> str:
    """Return a member's name as in Members.names."""
    return os.fsdecode(_plain_names(np.array([os.fsencode(name)]))[0])


def _plain_names(names: NDArray[np.bytes_]) -> NDArray[np.bytes_]:
    """Return the names with slashes, without "./" or "/" before them; raises _Refused for one with ".."."""
    # Nearly all archives have plain names, and looking for others must not take long.
    joined = b"\n" + b"\n".join(names.tolist())
    if not _NOT_PLAIN.search(joined):
        return names
    plain = []
    for name in names.tolist():
        parts = [part for part in name.replace(b"\\", b"/").split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise _Refused(f"the member {os.fsdecode(name)} leads out of the archive; name its files without ..")
        plain.append(b"/".join(parts))
    return np.array(plain)


def _members(archive: tarfile.TarFile, content: mmap.mmap) -> Iterator[Members]:
    """Walk the headers, plain ones without tarfile, which would take ten seconds for ABO's images."""
    position = 0
    headers: list[bytes] = []
    places: list[tuple[int, int]] = []
    while len(header := content[position : position + BLOCK]) == BLOCK:
        length = _plain_length(header)
        if length is not None:
            headers.append(header)
            position += BLOCK
            places.append((position, length))
            position += -(-length // BLOCK) * BLOCK
            if len(headers) < _BATCH:
                continue
        if headers:
            yield _checked(headers, places)
            headers, places = [], []
            # Mapped pages would otherwise count as memory of this process until it ends.
            content.madvise(mmap.MADV_DONTNEED)
        if length is None:
            if header == bytes(BLOCK):
                return
            start, other = position, member_at(archive, position)
            position = archive.offset  # type: ignore[attr-defined]
            if problem := _problem(other):
                raise _Refused(f"the member {other.name} {problem}")
            if other.isreg():
                name = other.name.encode(errors="surrogateescape")
                yield Members(*map(np.array, ([name], [start], [other.offset_data], [other.size])))
    # tarfile accepts a cut between two members as the end; a complete archive ends in blocks of zeros.
    ends_well = position == len(content)
    raise tarfile.ReadError("its end marker is missing" if ends_well else "unexpected end of data")


def _plain_length(header: bytes) -> int | None:
    """Return the content's length from the header of a regular file with a short name; None for any other header."""
    if header[_KIND] not in b"0\0" or header[_PREFIX]:
        return None
    try:
        return int(header[_LENGTH], 8)
    except ValueError:
        return None


def _checked(headers: list[bytes], places: list[tuple[int, int]]) -> Members:
    """Read many plain headers at once; tarfile.TarError if one does not match its checksum."""
    blocks = np.frombuffer(b"".join(headers), np.uint8).reshape(len(headers), BLOCK)
    sums = blocks.sum(axis=1, dtype=np.uint32).astype(np.int64)
    field = blocks[:, _CHECKSUM].astype(np.int64)
    # The checksum counts its field as blanks and is stored there as six octal digits.
    stated = (field[:, :6] - ord("0")) @ (8 ** np.arange(5, -1, -1))
    for place in np.flatnonzero(sums - field.sum(axis=1) + 8 * ord(" ") != stated):
        tarfile.TarInfo.frombuf(headers[place], tarfile.ENCODING, "surrogateescape")
    names = blocks[:, _NAME].copy().view("S100")[:, 0]
    offsets, lengths = np.array(places, np.int64).T
    return Members(names, offsets - BLOCK, offsets, lengths)


def member_at(archive: tarfile.TarFile, position: int) -> tarfile.TarInfo:
    """Read the header of any kind at `position`."""
    assert archive.fileobj is not None
    archive.fileobj.seek(position)
    return tarfile.TarInfo.fromtarfile(archive)
