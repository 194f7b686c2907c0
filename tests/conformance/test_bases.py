"""The bases of FS and GS, read and written by instructions of their own."""

import pytest

from tests.assembler import assemble
from xenia.testing.bare import DATA, Program

pytestmark = [pytest.mark.usefixtures("engine"), pytest.mark.needs("every_instruction")]

RAX, RBX = 0, 3
GP, UD = 13, 6
FSGSBASE = 1 << 16
LEAVE = "xor %eax, %eax; syscall"
BOTH = pytest.mark.parametrize("user", [False, True], ids=["kernel", "user"])


def run(source: str, user: bool, cr4: int = FSGSBASE) -> Program:
    program = Program(assemble(f"{source}\n{LEAVE}"), user)
    program.set_cr4(cr4)
    program.run()
    return program


@BOTH
@pytest.mark.parametrize("instruction", ["rdfsbase %rbx", "rdgsbase %rbx", "wrfsbase %rbx", "wrgsbase %ebx"])
def test_without_cr4_the_instructions_do_not_exist(instruction: str, user: bool) -> None:
    program = run(f"mov $0x8000000000000000, %rbx; {instruction}", user, cr4=0)
    assert program.last[:2] == ("exception", UD)


@BOTH
@pytest.mark.parametrize("segment", ["fs", "gs"])
def test_a_base_that_was_written_is_read_and_used(segment: str, user: bool) -> None:
    source = (
        f"mov ${DATA}, %r9d; wr{segment}base %r9; movq $0x77, {DATA + 8}; mov %{segment}:8, %rbx; rd{segment}base %rcx"
    )
    program = run(source, user)
    assert program.last[0] == "syscall"
    assert program.gpr[RBX] == 0x77
    program = run(
        f"mov $-1, %rax; wr{segment}base %rax; rd{segment}base %rbx; wr{segment}base %eax; rd{segment}base %rax; hlt",
        user,
    )
    assert (program.gpr[RBX], program.gpr[RAX]) == (2**64 - 1, 2**32 - 1)


@BOTH
@pytest.mark.parametrize("value", [1 << 47, 2**63 - 1, 1 << 63, 0xFFFF7FFFFFFFFFFF])
@pytest.mark.parametrize("register", ["rax", "rbp", "r8", "r13"])
@pytest.mark.parametrize("prefix", ["", ".byte 0x66;", ".byte 0x2e, 0x67;"], ids=["plain", "66", "2e 67"])
def test_a_base_that_is_not_canonical_is_refused(prefix: str, register: str, value: int, user: bool) -> None:
    program = run(f"movabs ${value}, %{register}; mov $5, %ebx; {prefix} wrfsbase %{register}; mov $6, %ebx", user)
    assert program.last[:3] == ("exception", GP, 0)
    assert program.gpr[RBX] == 5


@BOTH
def test_a_refusal_is_told_where_the_instruction_is_while_single_stepping(user: bool) -> None:
    program = run("mov $1 << 47, %rax; pushf; orq $0x100, (%rsp); popf; wrgsbase %rax", user)
    program.run()
    assert program.last[:2] == ("exception", GP)


@BOTH
@pytest.mark.parametrize("inside", range(1, 5))
def test_an_instruction_on_two_pages_is_refused_too(inside: int, user: bool) -> None:
    program = Program(assemble("mov $1 << 47, %rax; mov $0x80ffb, %ebx; jmp *%rbx"), user)
    program.set_cr4(FSGSBASE)
    program.write(DATA + 0xFFB, b"\x90" * (5 - inside) + b"\xf3\x48\x0f\xae\xd0")
    program.run()
    assert program.last[:2] == ("exception", GP)
    assert program.rip == DATA + 0x1000 - inside
