"""Headers of archives that nobody vouches for: what they have kept in memory has an end."""

from __future__ import annotations

import io
import tarfile

import pytest

from xenia.testing.containers import file, layer
from xenia.toolstack.tar import Header

BLOCK = tarfile.BLOCKSIZE
EXTENDED = (b"0" * 11 + b"\0") * 42 + b"\1" + b"\0" * 7  # a block of a map behind which there is another one


def read(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", tarinfo=Header) as tar:
        return tar.getmembers()


def header(kind: bytes, data: bytes = b"", name: str = "x", size: int | None = None) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, len(data) if size is None else size
    return member.tobuf(tarfile.GNU_FORMAT) + data + b"\0" * (-len(data) % BLOCK)


def said(word: str, value: str) -> bytes:
    text = f" {word}={value}\n"
    length = next(number for number in range(len(text), len(text) + 9) if len(str(number)) + len(text) == number)
    return f"{length}{text}".encode()


def old_sparse(is_extended: bool) -> bytes:
    """A header with two pieces in its map, of three bytes at nought and one at a hundred."""
    one = bytearray(header(tarfile.GNUTYPE_SPARSE, size=4))
    for place, number in ((386, 0), (398, 3), (410, 100), (422, 1), (434, 101), (446, 0), (483, 101)):
        one[place : place + 12] = b"%011o\0" % number
    one[482] = is_extended
    one[148:156] = b" " * 8
    one[148:156] = b"%06o\0 " % sum(one)
    return bytes(one)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_headers_of_one_file_are_few_and_not_large(kind: bytes) -> None:
    data = said("comment", "c") if kind in (tarfile.XHDTYPE, tarfile.XGLTYPE) else b"name"
    assert len(read(header(kind, data) * 4 + layer(file("a")))) == 1
    with pytest.raises(tarfile.ReadError, match="too many headers"):
        read(header(kind, data) * 5 + layer(file("a")))
    with pytest.raises(tarfile.ReadError, match="too large"):
        read(header(kind, b"n" * (Header.MOST_SAID + 1)) + layer(file("a")))


def test_maps_of_sparse_files_are_read_and_have_an_end() -> None:
    words = said("GNU.sparse.major", "1") + said("GNU.sparse.minor", "0") + said("GNU.sparse.realsize", "101")
    new = header(tarfile.XHDTYPE, words)
    for good in (
        old_sparse(False) + b"datb" + b"\0" * (BLOCK - 4) + b"\0" * 1024,
        new + layer(file("a", b"2\n0\n3\n100\n1\n".ljust(BLOCK, b"\0") + b"datb")),
    ):
        with tarfile.open(fileobj=io.BytesIO(good), mode="r:", tarinfo=Header) as tar:
            contents = tar.extractfile(tar.getmembers()[0])
            assert contents is not None and contents.read() == b"dat" + b"\0" * 97 + b"b"
    for bad in (
        old_sparse(True) + EXTENDED * 1000,
        new + layer(file("a", b"9999999\n" + b"1\n" * 100_000)),
    ):
        with pytest.raises(tarfile.ReadError, match="map"):
            read(bad)
