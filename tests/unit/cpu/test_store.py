"""Stores done in software against a processor that does them: Unicorn, as shipped."""

from __future__ import annotations

import random
from typing import Any

import pytest

from xenia.testing.decoder import store

unicorn = pytest.importorskip("unicorn")
x86 = pytest.importorskip("unicorn.x86_const")

CODE, DATA = 0x10000, 0x20000
NAMES = ["RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", *(f"R{n}" for n in range(8, 16))]
REGISTERS = [getattr(x86, f"UC_X86_REG_{name}") for name in NAMES]
CF, PF, AF, ZF, SF, DF, OF = 1, 4, 16, 64, 128, 0x400, 0x800
STATUS = CF | PF | AF | ZF | SF | OF
RSP, RBX, RDI, RSI, RCX = 4, 3, 7, 6, 1


@pytest.fixture(scope="module")
def processor() -> Any:
    uc = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)
    uc.mem_map(CODE, 0x1000)
    uc.mem_map(DATA, 0x10000)
    return uc


def rm(reg: int) -> bytes:
    """ModRM for [rbx] and this register or group."""
    return bytes([reg << 3 | RBX])


def forms(chance: random.Random) -> tuple[bytes, int]:
    """An instruction that writes to [rbx], and which flags it leaves undefined."""
    prefix = chance.choice([b"", b"\x66", b"\x48"])
    rex = prefix if prefix == b"\x48" else b""
    small = b"\x66" if prefix == b"\x66" else b""
    wide = chance.randrange(2)
    reg = chance.choice([0, 1, 2, 5, 6, 7])
    immediate = chance.randbytes(1 if not wide else 2 if small else 4)
    operation = chance.choice([0, 1, 2, 3, 4, 5, 6])
    undefined = AF if operation in (1, 4, 6) else 0
    kind = chance.randrange(15)
    head = small + rex
    if kind == 0:
        return head + bytes([operation << 3 | wide]) + rm(reg), undefined
    if kind == 1:
        return head + bytes([0x80 | wide]) + rm(operation) + immediate, undefined
    if kind == 2:
        return head + b"\x83" + rm(operation) + chance.randbytes(1), undefined
    if kind == 3:
        return head + bytes([0x88 | wide]) + rm(reg), 0
    if kind == 4:
        return head + bytes([0xC6 | wide]) + rm(0) + immediate, 0
    if kind == 5:
        return head + bytes([0x86 | wide]) + rm(reg), 0
    if kind == 6:
        return head + bytes([0xF6 | wide]) + rm(chance.choice([2, 3])), 0
    if kind == 7:
        return head + bytes([0xFE | wide]) + rm(chance.choice([0, 1])), 0
    if kind == 8:
        return head + bytes([0x0F, 0xB0 | wide]) + rm(reg), 0
    if kind == 9:
        return head + bytes([0x0F, 0xC0 | wide]) + rm(reg), 0
    if kind == 10:
        return head + bytes([0x0F, chance.choice([0xAB, 0xB3, 0xBB])]) + rm(chance.choice([1, 2])), STATUS & ~CF
    if kind == 11:
        return head + b"\x0f\xba" + rm(chance.choice([5, 6, 7])) + chance.randbytes(1), STATUS & ~CF
    if kind == 12:
        return bytes([0x0F, 0x90 | chance.randrange(16)]) + rm(0), 0
    if kind == 13:
        return rex + b"\x0f\xc3" + rm(reg), 0
    return b"\x48\x0f\xc7" + rm(1) if rex else b"\x0f\xc7" + rm(1), 0


def check(uc: Any, code: bytes, gpr: list[int], rflags: int, undefined: int, rounds: int = 1) -> None:
    before = uc.mem_read(DATA, 0x10000)
    uc.mem_write(CODE, code)
    for register, value in zip(REGISTERS, gpr, strict=True):
        uc.reg_write(register, value)
    uc.reg_write(x86.UC_X86_REG_EFLAGS, rflags)
    done = store(code, gpr, CODE, rflags, lambda at, size: bytes(before[at - DATA : at - DATA + size]))
    assert done is not None, code.hex()
    (address, data), after, rip, flags = done
    uc.emu_start(CODE, CODE + len(code), count=rounds)
    expected = bytearray(before)
    expected[address - DATA : address - DATA + len(data)] = data
    assert uc.mem_read(DATA, 0x10000) == expected, code.hex()
    assert after == [uc.reg_read(register) for register in REGISTERS], code.hex()
    assert rip == CODE + len(code)
    compare = STATUS & ~undefined
    assert flags & compare == uc.reg_read(x86.UC_X86_REG_EFLAGS) & compare, code.hex()


def test_stores_do_what_the_processor_does(processor: Any) -> None:
    chance = random.Random(17)
    for _ in range(4000):
        code, undefined = forms(chance)
        processor.mem_write(DATA + 0x8000, chance.randbytes(16))
        gpr = [chance.getrandbits(64) for _ in range(16)]
        gpr[1], gpr[2] = chance.getrandbits(64), chance.randrange(-0x1000, 0x1000) & 0xFFFFFFFFFFFFFFFF
        if code[-2:-1] in (b"\xab", b"\xb3", b"\xbb") and code[-3:-2] == b"\x0f":
            gpr[1] = chance.randrange(0x1000)
        gpr[RBX], gpr[RSP] = DATA + 0x8000, DATA + 0x4000
        if chance.random() < 0.5:  # let compare-and-exchange succeed as well
            # (Without REX.W in its low half only: this Unicorn clears the upper one, processors do not.)
            gpr[0] = int.from_bytes(processor.mem_read(DATA + 0x8000, 8 if code[0] == 0x48 else 4), "little")
        check(processor, code, gpr, 2 | chance.getrandbits(12) & STATUS, undefined)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("code", [b"\xaa", b"\xab", b"\x66\xab", b"\x48\xab", b"\xa4", b"\xa5", b"\x48\xa5"])
def test_string_stores_step_on(processor: Any, code: bytes, backwards: bool) -> None:
    gpr = [0x1122334455667788] * 16
    gpr[RSI], gpr[RDI] = DATA + 0x100, DATA + 0x200
    check(processor, code, gpr, 2 | (DF if backwards else 0), 0)


def test_a_repeated_store_does_one_round_and_stays() -> None:
    gpr = [0] * 16
    gpr[RCX], gpr[RDI], gpr[0] = 3, DATA, 0xAB
    done = store(b"\xf3\xaa", gpr, CODE, 2, lambda at, size: bytes(size))
    assert done is not None
    (address, data), after, rip, _ = done
    assert (address, data, after[RCX], after[RDI], rip) == (DATA, b"\xab", 2, DATA + 1, CODE)
    gpr[RCX] = 1
    done = store(b"\xf3\xaa", gpr, CODE, 2, lambda at, size: bytes(size))
    assert done is not None
    assert (done[1][RCX], done[2]) == (0, CODE + 2)


@pytest.mark.parametrize("code", [b"\x50", b"\x41\x50", b"\x6a\x80", b"\x68\x01\x02\x03\x84", b"\x8f\x03", b"\x66\x50"])
def test_push_and_pop_write_memory_too(processor: Any, code: bytes) -> None:
    gpr = [0x99AABBCCDDEEFF00] * 16
    gpr[RSP], gpr[RBX] = DATA + 0x4000, DATA + 0x100
    processor.mem_write(DATA + 0x4000, b"\x11\x22\x33\x44\x55\x66\x77\x88")
    check(processor, code, gpr, 2, 0)


@pytest.mark.parametrize(
    "code",
    [
        b"\x8b\x03",
        b"\x3b\x03",
        b"\x85\x03",
        b"\x0f\xa3\x03",
        b"\xff\x13",
        b"\x0f\xba\x23\x01",
        b"\x90",
        b"\x0f\x11\x03",
    ],
)
def test_what_writes_no_memory_or_is_not_known_is_left_alone(code: bytes) -> None:
    assert store(code + bytes(4), [DATA] * 16, CODE, 2, lambda at, size: bytes(size)) is None
