"""All of a vcpu's registers may be looked at and given back within an exit, and nobody can tell."""

from collections.abc import Callable

import pytest

from tests.assembler import assemble
from xenia.testing.bare import DATA, READ_ONLY, Program

pytestmark = pytest.mark.usefixtures("engine")
BOTH = pytest.mark.parametrize("user", [False, True], ids=["kernel", "user"])
STOP = "xor %eax, %eax; syscall;"
NOTHING, REGISTERS = (f"mov ${call}, %eax; syscall;" for call in (6, 10))
RBX = 3
DB, PF = 1, 14


def check(source: str, user: bool, prepare: Callable[[Program], object] = lambda program: None) -> Program:
    """`source` has a CALL in it: whether that exit looks or does not, all is the same after it, but eax."""
    ends, programs = [], []
    for call in (NOTHING, REGISTERS):
        program = Program(assemble(source.replace("CALL", f"{call} mov $0, %eax;")), user)
        prepare(program)
        assert program.run()
        ends.append((program.last, program.gpr, program.rip, program.rflags, program.kernel, program.read(DATA, 4096)))
        programs.append(program)
    assert ends[0] == ends[1]
    return programs[1]


@BOTH
def test_flags_and_general_registers(user: bool) -> None:
    overflow = "std; mov $0x7fffffff, %ebx; addl $1, %ebx;"
    check(f"{overflow} CALL pushfq; seto %al; push %rax; cld; {STOP}", user)


@BOTH
def test_the_trap_flag(user: bool) -> None:
    program = Program(assemble(f"mov $10, %eax; pushfq; orq $0x100, (%rsp); popfq; syscall; nop; nop; {STOP}"), user)
    stops = []
    for _ in range(2):
        assert program.run()
        stops.append((program.last[:2], program.exits))
    assert stops == [(("exception", DB), 2), (("exception", DB), 3)]


@pytest.mark.needs("every_instruction")
@BOTH
def test_the_fpu_segments_and_debug_registers(user: bool) -> None:
    load = "mov $0x1b, %eax; mov %eax, %fs; fninit; fldpi; fld1; fdivrp; movd %esp, %xmm7;"
    look = f"fxsave64 {DATA + 0x200}; fnstenv {DATA + 0x400}; mov %fs:8, %ebx;"

    def prepare(program: Program) -> None:
        program.describe(0x1B, 0x00CFF3080000FFFF)  # at DATA
        program.write(DATA + 8, b"\x21")
        program.set_debugreg(1, DATA + 0x800)
        program.set_debugreg(7, 1 << 2 | 3 << 20 | 3 << 22)

    program = check(f"{load} CALL {look} mov {DATA + 0x800}, %ecx; {STOP}", user, prepare)
    assert (program.last[:2], program.gpr[RBX]) == (("exception", DB), 0x21)


@BOTH
def test_the_page_tables_in_use(user: bool) -> None:
    assert check(f"CALL movl $5, {DATA}; mov {READ_ONLY}, %ebx; movl $5, {READ_ONLY}; {STOP}", user).last[1] == PF
