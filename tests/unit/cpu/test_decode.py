"""The instruction decoder against iced-x86: lengths and effective addresses of generated instructions."""

from __future__ import annotations

import random
from typing import Any

import pytest

from xenia.testing.decoder import DecodeError, NeedMore, decode_instruction, effective_address

iced_x86 = pytest.importorskip("iced_x86")

PREFIXES = [0x66, 0x67, 0xF0, 0xF2, 0xF3, 0x2E, 0x36, 0x3E, 0x26, 0x64, 0x65]
MAPS = [b"", b"", b"\x0f", b"\x0f", b"\x0f\x38", b"\x0f\x3a"]
PADLOCK = (b"\x0f\xa6", b"\x0f\xa7")  # VIA's, which no engine has


def generate(mode: int, count: int, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    found = []
    for _ in range(count):
        code = bytes(chance.choice(PREFIXES) for _ in range(chance.choice([0, 0, 0, 1, 1, 2])))
        if mode == 64 and chance.random() < 0.4:
            code += bytes([0x40 | chance.randrange(16)])
        found.append(code + chance.choice(MAPS) + chance.randbytes(15))
    return found


def compared(code: bytes, mode: int) -> Any:
    """What iced-x86 makes of the code; None for what the decoder need not know."""
    instruction = iced_x86.Decoder(mode, code).decode()
    legacy = instruction.encoding in (iced_x86.EncodingKind.LEGACY, iced_x86.EncodingKind.D3NOW)
    if instruction.code == iced_x86.Code.INVALID or not legacy or any(padlock in code for padlock in PADLOCK):
        return None
    return instruction


@pytest.mark.parametrize("mode", [64, 32, 16])
def test_lengths_agree(mode: int) -> None:
    for code in generate(mode, 15000, seed=mode):
        instruction = compared(code, mode)
        if instruction is not None:
            assert decode_instruction(code, mode)["length"] == instruction.len, (code.hex(), str(instruction))


@pytest.mark.parametrize("mode", [64, 32, 16])
def test_effective_addresses_agree(mode: int) -> None:
    chance = random.Random(mode + 1)
    for code in generate(mode, 15000, seed=mode + 1):
        instruction = compared(code, mode)
        if instruction is None or instruction.op_count == 0 or instruction.is_vsib or "xlat" in str(instruction):
            continue
        decoded = decode_instruction(code, mode)
        if not decoded["memory"]:
            continue
        gpr = [chance.getrandbits(64) for _ in range(16)]

        def value(register: int, gpr: list[int] = gpr) -> int:
            if register in (iced_x86.Register.NONE, iced_x86.Register.RIP, iced_x86.Register.EIP):
                return 0
            info = iced_x86.RegisterInfo(register)
            return int(gpr[info.number] & (1 << 8 * info.size) - 1)

        expected = (
            value(instruction.memory_base)
            + value(instruction.memory_index) * instruction.memory_index_scale
            + instruction.memory_displacement
        ) & (1 << 8 * decoded["address_size"]) - 1
        assert effective_address(code, gpr, instruction.len, mode) == expected, (code.hex(), str(instruction))


def test_bytes_that_end_within_an_instruction_are_too_few() -> None:
    for code in generate(64, 2000, seed=5):
        instruction = compared(code, 64)
        if instruction is not None:
            for length in range(instruction.len):
                with pytest.raises(NeedMore):
                    decode_instruction(code[:length])


def test_an_instruction_longer_than_15_bytes_is_none() -> None:
    assert decode_instruction(b"\x66" * 14 + b"\x90")["length"] == 15
    with pytest.raises(DecodeError):
        decode_instruction(b"\x66" * 15 + b"\x90")


@pytest.mark.parametrize("code", [b"\x06", b"\x27", b"\x60", b"\x9a" + bytes(6), b"\xea" + bytes(6), b"\x0f\x04"])
def test_what_64_bit_mode_does_not_have_is_invalid(code: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_instruction(code + bytes(8))
