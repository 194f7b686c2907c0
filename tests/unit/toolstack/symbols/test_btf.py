"""A kernel's types: what a section .BTF says, and one that lies."""

from __future__ import annotations

import struct

import pytest

from xenia.errors import ConfigError
from xenia.toolstack.symbols.btf import read_btf

INT, STRUCT, TYPEDEF = 1 << 24, 4 << 24, 8 << 24


def section(types: bytes, strings: bytes) -> bytes:
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings


def test_types_are_told_with_their_names() -> None:
    strings = b"\0int\0point\0x\0y\0"
    point = struct.pack("<III", 5, STRUCT | 2, 8) + struct.pack("<IIIIII", 11, 1, 0, 13, 1, 32)
    _, number, found = read_btf(section(struct.pack("<IIII", 1, INT, 4, 1 << 24) + point, strings))
    assert (number.kind, number.name, number.size, number.encoding) == ("int", "int", 4, 1)
    assert (found.kind, found.name, found.members) == ("struct", "point", [("x", 1, 0, 0), ("y", 1, 32, 0)])


def test_what_no_kernel_has_is_refused_before_it_takes_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, types, members, and all names together, each with the most that is believed."""
    for limit, most in (("TYPES", 1000), ("MEMBERS", 3000), ("TEXT", 200 * 256)):
        monkeypatch.setattr(f"xenia.toolstack.symbols.btf._MOST_{limit}", most)
    one, empty = struct.pack("<III", 1, TYPEDEF, 0), struct.pack("<III", 0, STRUCT | 1000, 0) + bytes(12 * 1000)
    everywhere = [struct.pack("<III", 1 + at, TYPEDEF, 0) for at in range(400)]
    longest = b"\0" + b"n" * 511 + b"\0"
    for types, strings in (
        (one, longest), (one * 1000, longest), (empty * 3, b"\0"), (b"".join(everywhere[-200:]), longest),
    ):  # fmt: skip
        read_btf(section(types, strings))
    for types, strings in (
        (one, b"\0n" + longest[1:]), (one * 1001, longest), (empty * 4, b"\0"), (b"".join(everywhere), longest),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match="damaged"):
            read_btf(section(types, strings))
