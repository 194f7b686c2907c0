"""CPUID's bytes in a page of code: an instruction, part of a displacement, or nobody knows."""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from bench.peers import Missing
from bench.workload import static_program
from tests.assembler import assemble
from xenia.cpu.engines.native.scan import lengths, look, patched

CPUID, UNDEFINED = b"\x0f\xa2", b"\x0f\x0b"
BEFORE = assemble("push %rbx; mov %rdi, %rsi; add $1, %rax; xor %ecx, %ecx; " * 8)  # 96 bytes
PROGRAMS = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib/x86_64-linux-gnu/libm.so.6", "/bin/bash", "/usr/bin/as"]


def page(code: bytes, at: int = 0x700) -> bytes:
    return (b"\x90" * (at - len(BEFORE)) + BEFORE + code).ljust(4096, b"\xc3")


@pytest.mark.parametrize(
    "code",
    [b"\xe8\x0f\xa2\x25\x00", b"\xe9\x00\x0f\xa2\xff", b"\x0f\x85\x00\x00\x0f\xa2", b"\x48\x89\x2d\x0f\xa2\xe5\x00",
     b"\x8b\x80\x0f\xa2\x00\x00", b"\x62\xf1\x7c\x48\x28\x05\x0f\xa2\x00\x00", b"\xc5\xf8\x28\x84\x24\x0f\xa2\0\0"],
    ids=["call", "jmp", "jne", "of an address", "of a base", "EVEX", "VEX"],
)  # fmt: skip
def test_in_a_displacement_it_is_left(code: bytes) -> None:
    assert look(page(code)) == "clean"


@pytest.mark.parametrize(
    "code",
    [b"\xb8\x0f\xa2\x00\x00", b"\x48\xb9\x00\x00\x0f\xa2\x00\x00\x00\x00", b"\x05\x0f\xa2\x00\x00",
     b"\xc7\x05\x00\x00\x00\x0f\xa2\x00\x00\x00", b"\x66\xe8\x0f\xa2\x00\x00"],
    ids=["mov", "movabs", "add", "over a displacement's end", "a branch that Intel and AMD read apart"],
)  # fmt: skip
def test_where_it_may_be_executed_by_whoever_jumps_there_it_is_not(code: bytes) -> None:
    assert look(page(code)) == "tainted"


@pytest.mark.parametrize("prefix", [b"", b"\x48", b"\x66\x2e", b"\xf3\x4f"], ids=["none", "REX", "two", "both kinds"])
def test_the_instruction_itself_is_undefined_in_the_copy_that_runs(prefix: bytes) -> None:
    whole = page(prefix + CPUID + b"\xe8\x0f\xa2\x25\x00" + CPUID)
    assert look(whole) == "patchable"
    copy = patched(whole)
    assert copy == page(prefix + UNDEFINED + b"\xe8\x0f\xa2\x25\x00" + UNDEFINED)
    assert look(copy) == "clean"


def test_near_a_pages_begin_nobody_knows() -> None:
    assert look((b"\x90" * 63 + CPUID).ljust(4096, b"\x90")) == "tainted"
    assert look((b"\x90" * 64 + CPUID).ljust(4096, b"\x90")) == "patchable"
    assert look(CPUID[1:].ljust(4096, b"\x90")) == "tainted"
    assert look(b"\x90" * 4095 + CPUID[:1]) == "clean"


def test_what_is_cut_off_by_the_pages_end_is_not_known() -> None:
    assert look(page(b"\xe8\x0f\xa2\x25", 4092)) == "tainted"
    assert look(page(CPUID, 4094)) == "patchable"


def test_more_places_than_are_worth_a_look() -> None:
    assert look(page(CPUID * 8)) == "patchable"
    assert look(page(CPUID * 9)) == "tainted"


def test_the_loop_that_is_measured_natively_is_on_a_page_that_may_run_natively() -> None:
    try:
        program = static_program("busy")
    except Missing as missing:
        pytest.skip(str(missing))
    pages = [program[at : at + 4096] for at in range(0, len(program), 4096)]
    (loop,) = (page for page in pages if b"\x15\x7c\x4a\x7f\xb9\x79\x37\x9e" in page)  # its factor
    assert look(loop) == "clean"
    assert "tainted" in {look(page) for page in pages}  # of the C library's


def test_a_page_of_data_is_not_taken_for_code() -> None:
    assert look(bytes(2048) + CPUID + bytes(2046)) == "tainted"


def test_bytes_that_are_code_for_one_reader_and_not_for_the_next() -> None:
    # Two ways to read never come together: an instruction, or the immediate of another one.
    assert look(page(b"\x05\x05\x05\x05" * 24 + b"\x05\x90\x90" + CPUID)) == "tainted"


@pytest.mark.parametrize("program", PROGRAMS)
def test_instructions_are_as_long_as_the_disassembler_says(program: str) -> None:
    if not Path(program).exists() or not shutil.which("objdump"):
        pytest.skip(f"needs objdump and {program}")
    sections = subprocess.run(["objdump", "-hw", program], check=True, capture_output=True, text=True).stdout
    found = re.search(r" \.text +(\w+) +(\w+) +\w+ +(\w+)", sections)
    assert found
    size, address, offset = (int(word, 16) for word in found.groups())
    size = min(size, 300_000)
    end = hex(address + size)
    command = ["objdump", "-d", "-j", ".text", "--no-show-raw-insn", f"--stop-address={end}", program]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    told = [(int(at, 16), what) for at, what in re.findall(r"^ +(\w+):\t(.*)$", listing, re.MULTILINE)]
    code = Path(program).read_bytes()[offset : offset + size]
    for (at, what), (behind, _) in pairwise(told):
        first = at - address
        merged = code[first] == 0x9B  # fwait, which is shown as one with the next
        if not merged and "(bad)" not in what and not what.startswith(("rex", ".byte")):
            assert lengths(code[first : first + 16])[0] == behind - at, f"{at:x}: {what}"
    assert len(told) > 10_000
