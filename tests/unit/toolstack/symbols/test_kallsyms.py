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


def tables(
    symbols: list[Symbol], *, behind: bool, sequences: bool, per_cpu: bool, base: int = TEXT, token_1: bytes = b"\1"
) -> bytes:
    """What scripts/kallsyms.c writes, with a token for each letter and for some pairs."""
    pairs = {256 - 20 + number: f"x{number}q".encode() for number in range(20)} | {7: b"function_", 8: b"_of_many"}
    tokens = [pairs.get(number, bytes([number])) if number else b"\1" for number in range(256)]
    tokens[1] = token_1
    names, markers = b"", []
    for number, symbol in enumerate(symbols):
        if number % 256 == 0:
            markers.append(len(names))
        coded = (symbol.kind + symbol.name).encode().replace(b"function_", b"\x07").replace(b"_of_many", b"\x08")
        length = bytes([len(coded)]) if len(coded) < 128 else bytes([len(coded) & 0x7F | 0x80, len(coded) >> 7])
        names += length + coded
    starts = [sum(len(token) + 1 for token in tokens[:number]) for number in range(256)]
    offsets = [TEXT - 1 - one.address if per_cpu else one.address - TEXT for one in symbols]
    addresses = padded(struct.pack(f"<{len(offsets)}i", *offsets)) + struct.pack("<Q", base)
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


def renamed(name: str) -> list[Symbol]:
    return [symbol._replace(name=name) if number == 300 else symbol for number, symbol in enumerate(SYMBOLS)]


@pytest.mark.parametrize("behind", [False, True])
def test_names_and_tokens_are_no_longer_than_linux_has_them(behind: bool) -> None:
    def read(symbols: list[Symbol], token_1: bytes = b"\1") -> list[Symbol]:
        data = tables(symbols, behind=behind, sequences=True, per_cpu=True, token_1=token_1)
        return read_kallsyms(KernelMemory(image(data)))

    longest = renamed("n" * 511)
    assert read(longest) == longest
    assert read(SYMBOLS, b"t" * 500) == SYMBOLS
    expanded = renamed("\1\1")
    assert read(expanded, b"t" * 255)[300].name == "t" * 510
    for symbols, token_1 in (
        (renamed("n" * 512), b"\1"), (expanded, b"t" * 256), (SYMBOLS, b"t" * 512), (renamed("\1" * 500), b"t" * 500),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match="CONFIG_KALLSYMS"):
            read(symbols, token_1)


@pytest.mark.parametrize("per_cpu", [False, True])
def test_addresses_beyond_the_last_one_are_none(per_cpu: bool) -> None:
    data = tables(SYMBOLS, behind=True, sequences=True, per_cpu=per_cpu, base=(1 << 64) - 4096)
    with pytest.raises(ConfigError, match="CONFIG_KALLSYMS"):
        read_kallsyms(KernelMemory(image(data)))


def test_a_guest_that_writes_what_looks_like_tables_everywhere_is_left_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digits; tokens with an index; places where names may be; names: of each no more is looked at than is allowed."""
    true = tables(SYMBOLS, behind=True, sequences=True, per_cpu=True)
    tokens = [bytes([number or 1]) for number in range(256)]
    index = struct.pack("<256H", *range(0, 512, 2))
    indexed = padded(b"\0".join(tokens) + b"\0") + index
    digits = padded(b"".join(b"%d\0" % digit for digit in range(10)))
    assert read_kallsyms(KernelMemory(image(digits * 9000 + indexed * 60 + true))) == SYMBOLS
    for lies in (digits * 10_001, indexed * 65):
        with pytest.raises(ConfigError, match="CONFIG_KALLSYMS"):
            read_kallsyms(KernelMemory(image(lies + true)))
    monkeypatch.setattr("xenia.toolstack.symbols.kallsyms._WALKED", 5000)
    assert read_kallsyms(KernelMemory(image(true))) == SYMBOLS
    places = struct.pack("<QQ", BASE, 300) * 6000
    with pytest.raises(ConfigError, match="CONFIG_KALLSYMS"):
        read_kallsyms(KernelMemory(image(places + indexed + true)))
