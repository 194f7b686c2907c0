"""The file with a kernel's own symbols: whose it is, and what of a kernel is told in it."""

from __future__ import annotations

import struct
from pathlib import Path

from tests.unit.toolstack.symbols.test_kallsyms import SYMBOLS, TEXT, image, tables
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.symbols.kallsyms import Symbol
from xenia.toolstack.symbols.kernel_memory import KernelMemory
from xenia.toolstack.symbols.orc import read_frames
from xenia.toolstack.symbols.own import own_symbols

BUILD_ID = struct.pack("<III4s", 4, 20, 3, b"GNU") + bytes(range(20))


def kernel(symbols: list[Symbol]) -> bytes:
    return BUILD_ID + bytes(-len(BUILD_ID) % 8) + tables(symbols, behind=True, sequences=True, per_cpu=True)


def test_a_guest_with_anothers_build_id_decides_nothing_of_what_is_told_of_that(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    forged = [symbol._replace(name="x" * len(symbol.name)) for symbol in SYMBOLS]
    of_liar, of_honest, again = (own_symbols(image(kernel(symbols)), cache) for symbols in (forged, SYMBOLS, SYMBOLS))
    assert of_honest == again != of_liar
    assert b"function_1_of_many" in of_honest.read_bytes() and b"function_1_of_many" not in of_liar.read_bytes()
    assert len(list(of_honest.parent.iterdir())) == 2


def frames(offset: int, count: int = 1) -> bytes:
    """Those of a kernel with a table of its unwinder's, of one row; or that says that it has so many."""
    names = ("__start_orc_unwind_ip", "__stop_orc_unwind_ip", "__start_orc_unwind", "__stop_orc_unwind")
    places = (TEXT, TEXT + 4 * count, TEXT + 4 * count, TEXT + 10 * count)
    symbols = [Symbol(place, "T", name) for name, place in zip(names, places, strict=True)]
    data = struct.pack("<ihhH", offset, 8, 0, 0x205) + bytes(10 * count - 10)
    return read_frames(KernelMemory(image(data)), symbols)


def test_how_frames_are_unwound_is_told_within_what_a_kernel_can_have() -> None:
    assert frames(0x1000)
    assert frames(0x7FFFFFFF) == b"", "an instruction beyond the last address"
    assert frames(0x1000, (1 << 21) + 1) == b"", "more rows than kernels have"
