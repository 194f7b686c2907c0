"""A vcpu's registers, all of them, taken from an engine and given to another: it goes on as the first would."""

import random
import struct
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.assembler import assemble
from xenia.cpu.registry import engines
from xenia.testing import bare
from xenia.testing.bare import CODE, DATA, READ_ONLY, STACK, UPPER, Program

RAX, RBX, RBP = 0, 3, 5
STOP = "xor %eax, %eax; syscall;"
DB, NM, UD, GP, PF = 1, 7, 6, 13, 14
pytestmark = pytest.mark.usefixtures("engine", "destination")
EVERYTHING = pytest.mark.needs("every_instruction")
BOTH = pytest.mark.parametrize("user", [False, True], ids=["kernel", "user"])


def move(program: Program) -> None:
    """To the other one of the two engines; they may be of one kind."""
    program.move(bare.DESTINATION if program.engine_name == bare.ENGINE else bare.ENGINE)


class Seen(NamedTuple):
    """All that can be seen of a program where it stops."""

    stopped: bool
    last: tuple[str, int, int, int]
    gpr: list[int]
    rip: int
    rflags: int
    kernel: bool
    memory: bytes


def trace(program: Program, stops: int, *, moved: bool) -> list[Seen]:
    """Let it run to so many stops; `moved`: after each on another engine."""
    seen = []
    for _ in range(stops):
        stopped = program.run()
        seen.append(Seen(stopped, program.last, program.gpr, program.rip, program.rflags, program.kernel,
                         program.read(DATA, 4096)))  # fmt: skip
        if moved:
            move(program)
    return seen


def check(
    source: str, stops: int, user: bool = False, prepare: Callable[[Program], object] = lambda program: None
) -> list[Seen]:
    """The program sees no difference, and nor does whoever answers its exits."""
    traces = []
    for moved in (False, True):
        program = Program(assemble(source), user)
        prepare(program)
        if moved:
            move(program)
        traces.append(trace(program, stops, moved=moved))
    assert traces[0] == traces[1]
    return traces[0]


@BOTH
def test_flags_and_general_registers(user: bool) -> None:
    load = "".join(f"mov ${number * 0x0101010101010101}, %r{number};" for number in range(8, 16))
    seen = check(
        f"{load} mov $0x7fffffff, %ebx; std; addl $1, %ebx; {STOP} pushfq; seto %al; push %rax; {STOP}", 2, user
    )
    assert seen[0].rflags & 0x400
    assert seen[0].gpr[15] == 0x0F0F0F0F0F0F0F0F


NUMBERS = {  # what a register of the FPU may hold
    "zero": "fldz",
    "pi": "fldpi",
    "infinity": "fld1; fldz; fdivrp",
    "not a number": "fldz; fldz; fdivrp",
    "denormal": f"movq $1, {DATA + 8}; movw $0, {DATA + 16}; fldt {DATA + 8}",
}
LOOK = (
    f"fxsave64 {DATA + 0x200}; fnstenv {DATA + 0x400}; fxrstor64 {DATA + 0x200}; fldenv {DATA + 0x400};"
    f"fxsave64 {DATA + 0x600};"
)
# Of the last instruction: processors keep where it and its operand are for unmasked exceptions alone, or always.
FORGET = (
    f"movw $0, {DATA + 0x206}; movq $0, {DATA + 0x208}; movq $0, {DATA + 0x210};"
    f"movq $0, {DATA + 0x40C}; movq $0, {DATA + 0x414};"
    f"movw $0, {DATA + 0x606}; movq $0, {DATA + 0x608}; movq $0, {DATA + 0x610};"
)


@EVERYTHING
@BOTH
@pytest.mark.parametrize("number", NUMBERS.values(), ids=NUMBERS)
def test_the_fpu_with_its_stack_tags_and_status(number: str, user: bool) -> None:
    # As user code it may run on a processor: an emulated FPU raises other exceptions of 0/0 and of denormals.
    clear, forget = ("fnclex;", FORGET) if user else ("", "")
    source = f"fninit; fld1; fldl2e; {number}; ffree %st(2); fincstp; fcom %st(7); {clear} {STOP}"
    source += f"{LOOK} {forget} fdecstp; faddp; fstpt {DATA}; {STOP}"
    check(source, 2, user)


@EVERYTHING
@BOTH
@pytest.mark.parametrize("control", [0x37F, 0x77F, 0xB7F, 0xF7F, 0x07F, 0xC7F, 0x27F])
def test_the_fpu_rounds_as_it_was_told(control: int, user: bool) -> None:
    source = (
        f"movl ${control}, {DATA}; fninit; fldcw {DATA}; fldpi; fldln2; {STOP}"
        f"fdivrp; fld %st; fistpl {DATA + 4}; fstpt {DATA + 16}; fnstcw {DATA + 40}; {STOP}"
    )
    check(source, 2, user)


@EVERYTHING
@BOTH
@pytest.mark.parametrize("mxcsr", [0x1F80, 0x3F80, 0x5F80, 0x7F80, 0x9F80, 0x1FC0])
def test_sse_registers_and_how_they_round(mxcsr: int, user: bool) -> None:
    load = "".join(f"movd %ebx, %xmm{n}; pshufd $0, %xmm{n}, %xmm{n}; add $0x01010101, %ebx;" for n in range(16))
    source = (
        f"movl ${mxcsr}, {DATA}; ldmxcsr {DATA}; mov $0x3eaaaaab, %ebx; {load} {STOP} {LOOK}"
        f"mulps %xmm15, %xmm1; cvtps2dq %xmm1, %xmm2; movups %xmm1, {DATA + 16}; movups %xmm2, {DATA + 32};"
        f"movl $1, {DATA + 48}; movss {DATA + 48}, %xmm3; addss %xmm3, %xmm3; movss %xmm3, {DATA + 52}; {STOP}"
    )
    check(source, 2, user)


@EVERYTHING
@BOTH
def test_mmx_registers(user: bool) -> None:
    look = f"fnstenv {DATA + 0x400}; {FORGET} fldenv {DATA + 0x400}; movq %mm0, {DATA}; movq %mm7, {DATA + 8};"
    source = "mov $0x1122334455667788, %rbx; movq %rbx, %mm0; movq %rbx, %mm7; paddb %mm0, %mm7;"
    source += f"{STOP} {look} emms; {STOP}"
    check(source, 2, user)


@BOTH
def test_single_steps_go_on_where_the_trap_flag_is_set(user: bool) -> None:
    seen = check(f"pushfq; orq $0x100, (%rsp); popfq; nop; inc %ebx; inc %ebx; {STOP}", 4, user)
    assert {one.last[1] for one in seen} == {DB}


@BOTH
@pytest.mark.needs("segments")
def test_single_steps_go_on_across_a_load_of_ss(user: bool) -> None:
    load_ss = "mov $0xe02b, %eax; mov %eax, %ss; inc %ebx;"
    seen = check(f"pushfq; orq $0x100, (%rsp); popfq; nop; inc %ebx; {load_ss} inc %ebx; {STOP}", 6, user)
    assert {one.last[1] for one in seen} == {DB}


def watch(address: int, *, kind: int = 3, extent: int = 3) -> Callable[[Program], object]:
    """Data (kind 1 writes, 3 all) or an instruction (kind and extent 0)."""

    def prepare(program: Program) -> None:
        program.set_debugreg(1, address)
        program.set_debugreg(7, 1 << 2 | kind << 20 | extent << 22)

    return prepare


@pytest.mark.needs("debug_registers")
@BOTH
def test_debug_registers_watch_on(user: bool) -> None:
    source = f"{STOP} movl $1, {DATA + 4}; {STOP} mov {DATA + 4}, %ebx; inc %ebx; {STOP}"
    seen = check(source, 5, user, watch(DATA + 4))
    assert [one.last[1] for one in seen if one.last[0] == "exception"] == [DB, DB]


@pytest.mark.needs("debug_registers")
@BOTH
def test_an_instruction_that_runs_past_its_breakpoint_does_so_on_the_other_engine(user: bool) -> None:
    # The core answers the breakpoint with RF set: one instruction, of which nobody learns, and then it holds again.
    source = f"mov $3, %ebp; 1: inc %ebx; dec %ebp; jnz 1b; {STOP}"

    def steps(moved: bool) -> list[Seen]:
        program = Program(assemble(source), user)
        watch(CODE + 5, kind=0, extent=0)(program)
        seen = []
        for _ in range(4):
            if moved:
                move(program)
            assert program.run()
            seen.append(Seen(True, program.last, program.gpr, program.rip, program.rflags, program.kernel, b""))
            if moved:
                move(program)
            program.set_rflags(program.rflags | 0x10000)
        return seen

    assert steps(moved=False) == steps(moved=True)
    assert [(one.last[1], one.gpr[RBX]) for one in steps(moved=True)[:3]] == [(DB, 0), (DB, 1), (DB, 2)]


@pytest.mark.needs("segments")
@BOTH
def test_segments_stay_as_they_were_loaded(user: bool) -> None:
    # The descriptors change behind them; what is loaded keeps what it had.
    source = (
        f"mov $0x1b, %eax; mov %eax, %fs; mov %eax, %gs; mov %eax, %ds; mov %eax, %es; mov %eax, %ss; {STOP}"
        f"movl $7, %fs:8; mov %gs:8, %ebx; mov %fs, %ecx; mov %ds, %edx; mov %ss, %esi; lsl %ecx, %edi; {STOP}"
    )

    def prepare(program: Program) -> None:
        program.describe(0x1B, 0x00CFF3080000FFFF)  # at DATA

    program = Program(assemble(source), user)
    prepare(program)
    assert program.run()
    program.describe(0x1B, 0x00CFF30900000FFF)
    move(program)
    assert program.run()
    assert program.gpr[RBX] == 7
    assert program.read(DATA + 8, 4) == struct.pack("<I", 7)
    check(source, 2, user, prepare)


@pytest.mark.needs("segments")
@BOTH
def test_compatibility_code_goes_on_in_its_segments(user: bool) -> None:
    source = (
        "mov $0x1b, %eax; mov %eax, %ss; mov $0x2010, %esp; push $0x23; lea 1f(%rip), %rax; push %rax; lretq;"
        ".code32; 1: inc %ebx; xor %eax, %eax; int3; pushl $5; incl %ebx; pushl $6; int3; popl %ecx; int3"
    )

    def prepare(program: Program) -> None:
        program.describe(0x1B, 0x00CFF3080000FFFF)
        program.describe(0x23, 0x00CFFB000000FFFF)

    seen = check(source, 3, user, prepare)
    assert seen[2].gpr[RBX] in (1, 2)
    assert {one.last[0] for one in seen} == {"interrupt"}


@pytest.mark.needs("segments")
@BOTH
def test_the_descriptor_tables_are_where_they_were(user: bool) -> None:
    source = f"{STOP} mov $0xf, %eax; mov %eax, %fs; mov %fs:8, %ebx; mov $0x17, %eax; mov %eax, %fs; {STOP}"

    def prepare(program: Program) -> None:
        program.set_ldt(DATA + 0x800, 0xF)
        program.write(DATA + 0x808, struct.pack("<Q", 0x00CFF3080000FFFF))
        program.write(DATA + 8, b"\x21")

    seen = check(source, 2, user, prepare)
    assert (seen[1].gpr[RBX], seen[1].last[:3]) == (0x21, ("exception", GP, 0x14))


@EVERYTHING
@BOTH
def test_bases_and_the_bits_of_cr4(user: bool) -> None:
    source = (
        f"mov ${DATA}, %ebx; wrfsbase %rbx; add $8, %ebx; wrgsbase %rbx; {STOP}"
        f"movl $1, %fs:16; movl $2, %gs:16; rdfsbase %rcx; rdgsbase %rdx; rdtsc; {STOP}"
    )
    for cr4, refused in ((1 << 16 | 4, (GP, 0)), (1 << 16, None), (0, (UD, 0))):

        def prepare(program: Program, cr4: int = cr4) -> None:
            program.set_cr4(cr4)

        program = Program(assemble(source), user)
        prepare(program)
        program.run()
        move(program)
        program.run()
        assert program.last[0] == ("syscall" if refused is None else "exception")
        if refused:
            assert program.last[1:3] == refused
            check(source, 2, user, prepare)


@EVERYTHING
@BOTH
def test_the_task_switched_bit(user: bool) -> None:
    seen = check(f"{STOP} fninit; {STOP}", 2, user, lambda program: program.set_ts(True))
    assert seen[1].last[:2] == ("exception", NM)
    seen = check(f"{STOP} fninit; {STOP}", 2, user, lambda program: program.set_ts(False))
    assert seen[1].last[0] == "syscall"


@BOTH
def test_the_time_stamp_counter(user: bool) -> None:
    program = Program(assemble(f"{STOP} rdtsc; mov %edx, %ebx; {STOP}"), user)
    program.set_tsc_offset(1 << 61)
    program.run()
    move(program)
    program.run()
    assert program.gpr[RBX] >> 29 == 1


def test_the_root_in_use_and_whose_it_is() -> None:
    access = f"mov ${UPPER + DATA}, %rbx; movl $5, (%rbx);"
    source = f"mov $0x70, %edi; mov $9, %eax; syscall; {STOP} {access} mov $8, %eax; syscall; {STOP} {access} {STOP}"
    seen = check(source, 3, True)
    assert [one.last[:2] for one in seen] == [("syscall", 0), ("syscall", 0), ("exception", PF)]


def test_the_mode() -> None:
    access = f"mov ${UPPER + DATA}, %rbx; movl $5, (%rbx);"
    seen = check(f"{access} {STOP} {access} mov $1, %eax; syscall; {STOP} {access}", 3)
    assert [one.last[:2] for one in seen] == [("syscall", 0), ("syscall", 0), ("exception", PF)]


@BOTH
def test_a_fault_is_answered_on_the_other_engine(user: bool) -> None:
    seen = check(f"std; stc; mov %eax, {READ_ONLY}; {STOP}", 3, user)
    assert [one.last for one in seen] == [("exception", PF, 3 | user << 2, READ_ONLY)] * 3


# Integer, FPU and SSE arithmetic, string instructions, a data segment and a loaded stack segment in a loop.
WORK = f"""
    fninit
    fldpi
    mov $0x9e3779b97f4a7c15, %rbx
    movq %rbx, %xmm5
1:  mov $0xe02b, %eax
    mov %eax, %ss
    addq %rbx, {DATA}
    rolq $7, {DATA}
    adcq %rbx, {DATA + 8}
    fld1
    fadd %st, %st(1)
    fstpt {DATA + 32}
    paddq %xmm5, %xmm6
    movups %xmm6, {DATA + 48}
    mov ${DATA}, %esi
    mov ${DATA + 64}, %edi
    mov $5, %ecx
    rep movsq
    movzbl {DATA + 3}, %eax
    imul $0x5851f42d, %rbx, %rbx
    dec %ebp
    jnz 1b
"""


# The same without what not every engine has.
PLAIN_WORK = f"""
    mov $0x9e3779b97f4a7c15, %rbx
1:  addq %rbx, {DATA}
    btcq $5, {DATA}
    adcq %rbx, {DATA + 8}
    push %rbx
    notq (%rsp)
    pop %rcx
    call 2f
    mov ${DATA}, %esi
    mov ${DATA + 64}, %edi
    mov $2, %ecx
    rep movsq
    lea 5(%rbx,%rbx,2), %rbx
    dec %ebp
    jnz 1b
    jmp 3f
2:  subq %rcx, {DATA + 16}
    ret
3:
"""


def run_kicked(program: Program, after: float) -> bool:
    """Run it, and stop it after so many seconds."""
    timer = threading.Timer(after, program.kick)
    timer.start()
    try:
        return program.run()
    finally:
        timer.cancel()
        timer.join()


def seconds(source: str, rounds: int) -> float:
    """What so many rounds take."""
    program = Program(assemble(f"mov ${rounds}, %ebp; {source} {STOP}"))
    begin = time.monotonic()
    assert program.run()
    return time.monotonic() - begin


def check_moving_anywhere(source: str) -> None:
    rounds = int(20_000 * 0.2 / seconds(source, 20_000))
    source = f"mov ${rounds}, %ebp; {source} {STOP}"
    expected = Program(assemble(source))
    assert expected.run()
    moved, moves, chance = Program(assemble(source)), 0, random.Random(1)
    while not run_kicked(moved, chance.uniform(0.0005, 0.01)):
        move(moved)
        moves += 1
    assert moves
    assert (moved.read(DATA, 256), moved.gpr, moved.rflags) == (expected.read(DATA, 256), expected.gpr, expected.rflags)


@EVERYTHING
def test_moving_anywhere_never_changes_what_a_program_computes() -> None:
    check_moving_anywhere(WORK)


def test_moving_anywhere_never_changes_what_a_plain_program_computes() -> None:
    check_moving_anywhere(PLAIN_WORK)


@pytest.mark.needs("debug_registers")
def test_a_watchpoint_and_a_load_of_ss_are_one_wherever_the_program_moves() -> None:
    # The trap of what loads SS comes after the next instruction, on whichever engine that runs.
    source = f"mov $100, %ebp; 1: mov {DATA}, %ss; incl %ebx; incl %ebx; dec %ebp; jnz 1b; {STOP}"
    program, chance, places = Program(assemble(source)), random.Random(1), []
    program.write(DATA, struct.pack("<I", 0xE02B))
    watch(DATA)(program)
    while True:
        if not run_kicked(program, chance.uniform(0, 0.0002)):
            move(program)
            continue
        if program.last[0] == "syscall":
            break
        places.append((program.rip, program.gpr[RBX] % 2))
        if chance.random() < 0.2:
            move(program)
    assert len(places) == 100
    assert set(places) == {(CODE + 5 + 7 + 2, 1)}


@EVERYTHING
def test_the_state_of_a_program_is_the_same_when_it_is_taken_again() -> None:
    program = Program(assemble(f"fldpi; stc; mov %eax, %ds; {STOP}"))
    watch(DATA)(program)
    program.run()
    first = program.registers
    move(program)
    assert program.registers == first


def test_the_stack_and_code_of_a_fresh_program_are_its_own() -> None:
    program = Program(assemble(STOP))
    move(program)
    assert (program.rip, program.gpr[4]) == (CODE, STACK)


@EVERYTHING
@pytest.mark.parametrize("meanwhile", [kind.name for kind in engines()])
def test_what_an_engine_has_no_use_for_it_keeps(meanwhile: str) -> None:
    # The registers of the FPU, of segments and of the debugger, while an engine runs that may not know them.
    program = Program(assemble(f"fldpi; movd %esp, %xmm3; mov ${DATA}, %ebx; wrgsbase %rbx; {STOP} inc %ebx; {STOP}"))
    program.set_cr4(1 << 16)
    program.set_ldt(DATA, 0x17)
    watch(DATA + 8)(program)
    program.run()
    before = program.registers
    program.move(meanwhile)
    program.run()
    assert program.gpr[RBX] == DATA + 1
    program.move(bare.ENGINE)
    changed = {name for name, value in program.registers.items() if value != before[name]}
    assert changed <= {"gpr", "rip", "rflags"}
