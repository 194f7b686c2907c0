"""The symbols of modules, in a memory made to measure: what is there, and what a guest may say instead."""

from __future__ import annotations

import struct
from random import Random

from xenia.toolstack.symbols.btf import BtfType
from xenia.toolstack.symbols.kallsyms import Symbol
from xenia.toolstack.symbols.modules import read_module_symbols

BASE = 0xFFFFFFFFC0000000
HEAD, MODULE, TABLE, SYMTAB, STRTAB, SIZE = BASE, BASE + 0x100, BASE + 0x200, BASE + 0x300, BASE + 0x400, 0x500
TYPES = [
    BtfType("struct", "module", members=[("state", 1, 0, 0), ("list", 1, 64, 0), ("name", 1, 192, 0),
                                         ("kallsyms", 1, 1024, 0)]),
    BtfType("struct", "mod_kallsyms", members=[("symtab", 1, 0, 0), ("num_symtab", 1, 64, 0), ("strtab", 1, 128, 0)]),
]  # fmt: skip


def memory() -> bytearray:
    """With one module, "toy"."""
    data = bytearray(SIZE)
    for at, text in (
        (HEAD, struct.pack("<Q", MODULE + 8)), (MODULE, struct.pack("<QQQ", 0, HEAD, HEAD) + b"toy\0"),
        (MODULE + 128, struct.pack("<Q", TABLE)), (TABLE, struct.pack("<QQQ", SYMTAB, 3, STRTAB)),
        (SYMTAB + 24, struct.pack("<IBBHQQIBBHQQ", 1, 0x12, 0, 1, BASE + 0x2000, 9, 6, 1, 0, 2, BASE + 0x1000, 4)),
        (STRTAB, b"\0open\0state\0"),
    ):  # fmt: skip
        data[at - BASE : at - BASE + len(text)] = text
    return data


def read(data: bytearray) -> list[tuple[str, list[Symbol]]]:
    def fetch(address: int, size: int) -> bytes:
        return bytes(data[address - BASE : address - BASE + size]) if BASE <= address < BASE + len(data) else b""

    return [(one.name, one.symbols) for one in read_module_symbols(fetch, TYPES, HEAD)]


def test_functions_and_data_of_a_module_by_address() -> None:
    expected = [Symbol(BASE + 0x1000, "d", "state"), Symbol(BASE + 0x2000, "T", "open")]
    assert read(memory()) == [("toy", expected)]


def test_a_list_that_never_ends_and_tables_that_are_too_large_are_left() -> None:
    data = memory()
    struct.pack_into("<Q", data, MODULE - BASE + 8, MODULE + 8)
    assert len(read(data)) == 1, "the list leads to itself"
    struct.pack_into("<I", data, TABLE - BASE + 8, 0xFFFFFFFF)
    assert read(data) == []
    struct.pack_into("<I", data, TABLE - BASE + 8, 3)
    struct.pack_into("<I", data, SYMTAB - BASE + 24, 0xFFFFFFFF)
    assert read(data) == [], "a name 4 GB behind the first"


def test_whatever_a_guest_writes_there_is_read_without_a_fault() -> None:
    random = Random(1)
    for _ in range(2000):
        data = memory()
        for _ in range(4):
            at = random.randrange(SIZE - 8)
            data[at : at + 8] = random.choice((random.randbytes(8), struct.pack("<Q", BASE + random.randrange(SIZE))))
        read(data)
