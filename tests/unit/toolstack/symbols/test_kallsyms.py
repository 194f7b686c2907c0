"""Linux's symbols in an image of its memory: as each release lays them out, and where they lie."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from contextlib import suppress

import pytest

from xenia.errors import ConfigError
from xenia.toolstack.symbols.kallsyms import Symbol, read_kallsyms
from xenia.toolstack.symbols.kernel_memory import BASE, KernelMemory

TEXT = BASE + (16 << 20)
SYMBOLS = [
    Symbol(TEXT + 0x100 * number, "Tt"[number % 2], f"function_{number}_of_many" + "_" * (200 if number == 700 else 0))
    for number in range(1000)
]


def padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 8)


def tables(symbols: list[Symbol], *, behind: bool, sequences: bool, per_cpu: bool) -> bytes:
    """What scripts/kallsyms.c writes, with a token for each letter and for some pairs."""
    pairs = {256 - 20 + number: f"x{number}q".encode() for number in range(20)} | {7: b"function_", 8: b"_of_many"}
    tokens = [pairs.get(number, bytes([number])) if number else b"\1" for number in range(256)]
    names, markers = b"", []
    for number, symbol in enumerate(symbols):
        if number % 256 == 0:
            markers.append(len(names))
        coded = (symbol.kind + symbol.name).encode().replace(b"function_", b"\x07").replace(b"_of_many", b"\x08")
        length = bytes([len(coded)]) if len(coded) < 128 else bytes([len(coded) & 0x7F | 0x80, len(coded) >> 7])
        names += length + coded
    starts = [sum(len(token) + 1 for token in tokens[:number]) for number in range(256)]
    offsets = [TEXT - 1 - one.address if per_cpu else one.address - TEXT for one in symbols]
    addresses = padded(struct.pack(f"<{len(offsets)}i", *offsets)) + struct.pack("<Q", TEXT)
    table = padded(b"\0".join(tokens) + b"\0") + padded(struct.pack("<256H", *starts))
    body = struct.pack("<Q", len(symbols)) + padded(names) + padded(struct.pack(f"<{len(markers)}I", *markers))
    body += padded(bytes(3 * len(symbols))) if sequences and not behind else b""
    return body + table + addresses if behind else addresses + body + table


def image(data: bytes) -> Callable[[int, int], bytes]:
    """Memory that is mapped from TEXT on."""
    return lambda address, size: data[max(address - TEXT, 0) :][:size] if address >= TEXT else b""


@pytest.mark.parametrize("around", [64, 1 << 20])
@pytest.mark.parametrize(
    ("behind", "sequences", "per_cpu"),
    [(False, False, True), (False, True, True), (True, True, True), (True, True, False)],
    ids=["5.10", "6.2", "6.4", "6.15"],
)
def test_the_symbols_of_each_release_are_found(behind: bool, sequences: bool, per_cpu: bool, around: int) -> None:
    noise = random.Random(1).randbytes(around)
    found = tables(SYMBOLS, behind=behind, sequences=sequences, per_cpu=per_cpu)
    assert read_kallsyms(KernelMemory(image(noise + found + noise))) == SYMBOLS


def test_a_kernel_without_them_and_no_kernel_are_told() -> None:
    with pytest.raises(ConfigError, match="CONFIG_KALLSYMS"):
        read_kallsyms(KernelMemory(image(bytes(1 << 20))))
    with pytest.raises(ConfigError, match="nothing is mapped"):
        KernelMemory(lambda address, size: b"")


def test_a_guest_that_lies_there_is_found_out_or_believed_and_ends() -> None:
    """Tables that were changed anywhere: whatever comes of it is symbols, or one line."""
    draw = random.Random(5)
    for number in range(60):
        data = bytearray(tables(SYMBOLS, behind=number % 2 == 0, sequences=number % 3 == 0, per_cpu=True))
        for _ in range(draw.choice((1, 3, 40))):
            data[draw.randrange(len(data))] = draw.choice((0, 1, 0x7F, 0x80, 0xFF))
        length = draw.choice((len(data), draw.randrange(1, len(data))))
        with suppress(ConfigError):
            read_kallsyms(KernelMemory(image(bytes(data[:length]))))
