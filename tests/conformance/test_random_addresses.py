"""Random code at several addresses: the emulated engine, which translates it once, does what the host does."""

from __future__ import annotations

import random
import struct

import pytest

from tests.assembler import assemble
from tests.conformance.test_addresses import FRAME, NOWHERE, PAGES
from xenia.cpu.engines.native import host
from xenia.testing import bare
from xenia.testing.bare import CODE, STACK, TABLE, Program

RSP, R14 = 4, 14
ENDS = 0x300000  # the two frames that all pages lead to
CALLS = "".join(f"lea {page}(%r14d), %ebx; call *%rbx; push %rax;" for page in PAGES)
MAIN = f"mov $3, %r12d; 5: {CALLS} dec %r12d; jnz 5b; xor %eax, %eax; syscall"


def displacement(random: random.Random) -> bytes:
    return struct.pack("<i", random.randint(-(1 << 31), (1 << 31) - 1))


def instruction(random: random.Random) -> bytes:
    """One, or a few that belong together; what it computes ends in rax, sooner or later."""
    register = random.choice([0, 1, 2, 6, 7, 8, 9, 10, 11])
    wide, below = 0x48 | register >> 3 << 2, (register & 7) << 3
    near = NOWHERE + random.choice([0, 1, -1, FRAME, (1 << 31) - 1, -(1 << 31), random.randint(-(1 << 32), 1 << 32)])
    return random.choice([
        bytes([wide, 0x8D, below | 5]) + displacement(random),  # lea rip-relative
        bytes([0x67, wide, 0x8D, below | 5]) + displacement(random),
        bytes([wide, 0x8B, below | 5, 0, 0, 0, 0]),  # mov from what follows
        bytes([wide, 0x3B, below | 5, 0, 0, 0, 0, 0x0F, 0x92, 0xC0]),  # cmp with it; setb
        b"\xe8\0\0\0\0\x58",  # call the next; pop
        b"\x48\x8d\x05\4\0\0\0\x50\xc3\xcc\xcc",  # push an address; ret
        bytes([0x48 | register >> 3, 0xB8 + (register & 7)]) + struct.pack("<Q", near),  # movabs
        bytes([wide, 0x01, 0xC0 | below]),  # add to rax
        bytes([wide, 0x31, 0xC0 | below]),  # xor
        bytes([0x48, 0xC1, 0xC0, random.randrange(64)]),  # rol
        bytes([0x83, 0xF8, random.randrange(256), 0x70 | random.randrange(16), 2, 0x48, 0x90]),  # cmp; jcc over
        b"\xeb\1\x90",  # jmp
        b"\xb9\3\0\0\0\x48\xff\xc0\xff\xc9\x75\xf9",  # a loop
        b"\xb8\6\0\0\0\x0f\5\x48\1\xc8",  # a system call; add rcx
    ])  # fmt: skip


def outcome(engine: str, code: bytes, at: int) -> object:
    program = Program(assemble(MAIN), user=True, engine=engine)
    for page in PAGES:
        entries = struct.pack("<QQ", ENDS | 7, ENDS + FRAME | 7)
        program.write((TABLE << 12) + 8 * (page >> 12), entries)
    program.write(ENDS + at, code)
    program.go_to(CODE, {R14: at, RSP: STACK})
    assert program.run()
    return program.last, program.rip, program.gpr, program.read(program.gpr[RSP], 8 * 9)


@pytest.mark.skipif(host.lack() is not None, reason="the host runs nothing natively")
@pytest.mark.parametrize("seed", range(20))
def test_random_code_does_at_each_address_what_the_host_does(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bare, "CR4", 1 << 16)  # FSGSBASE, without which nothing is native
    for number in range(20):
        source = random.Random(100 * seed + number)
        code = b"".join(instruction(source) for _ in range(source.randint(3, 60))) + b"\xc3"
        at = source.choice([0, source.randrange(4000), FRAME - source.randint(1, len(code))])
        assert outcome("emulated", code, at) == outcome("eager", code, at), (100 * seed + number, at, code.hex())
