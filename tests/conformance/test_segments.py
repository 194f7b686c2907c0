"""Selectors, far jumps and the stack segment, as ring 3 has them in both modes."""

import struct

import pytest

from tests.assembler import assemble
from xenia.testing.bare import CODE, DATA, STACK, UPPER, Program

pytestmark = [pytest.mark.usefixtures("engine"), pytest.mark.needs("segments")]

RCX, RBX, RSP = 1, 3, 4
GP, NP, SS, DB, PF, BP = 13, 11, 12, 1, 14, 3
PRESENT, USER = 1, 4
LEAVE = "xor %eax, %eax; syscall"
BOTH = pytest.mark.parametrize("user", [False, True], ids=["kernel", "user"])

DESCRIPTORS = {
    "data": 0x00CFF3000000FFFF,
    "absent": 0x00CF73000000FFFF,
    "code": 0x00AFFB000000FFFF,
    "absent code": 0x00AF7B000000FFFF,
    "code32": 0x00CFFB000000FFFF,
    "short": 0x0040FB0000000FFF,
    "L and D": 0x00EFFB000000FFFF,
    "gate": 0x00008C000033FFFF,
    "absent gate": 0x00006C000033FFFF,
    "based": 0x00CFF3080000FFFF,  # at DATA
}
# The first 16 are a Linux host's own: natively run code that names one of these finds the host's.
SELECTORS = {name: index << 3 | 3 for index, name in enumerate(DESCRIPTORS, 16)}


def run(source: str, user: bool = False) -> Program:
    program = Program(assemble(f"{source}\n{LEAVE}"), user)
    for name, selector in SELECTORS.items():
        program.describe(selector, DESCRIPTORS[name])
    program.run()
    return program


def outcome(source: str, user: bool = False) -> tuple[int, int] | None:
    kind, vector, error, _ = run(source, user).last
    return None if kind == "syscall" else (vector, error)


FAR = {
    "lret": "push ${selector}; push %rcx; lretq; 1:",
    "ljmp": f"mov %rcx, {DATA}; movw ${{selector}}, {DATA + 8}; rex.w ljmp *{DATA}; 1:",
    "lcall": f"mov %rcx, {DATA}; movw ${{selector}}, {DATA + 8}; rex.w lcall *{DATA}; 1:",
    "iret": f"push $0xe02b; push ${STACK}; push $0x202; push ${{selector}}; push %rcx; iretq; 1:",
}


def far(how: str, selector: int, target: int | None = None) -> str:
    """To `target`, or to what follows."""
    where = "lea 1f(%rip), %rcx;" if target is None else f"movabs ${target}, %rcx;"
    return where + FAR[how].format(selector=selector)


@BOTH
@pytest.mark.parametrize("how", FAR)
@pytest.mark.parametrize(
    ("name", "refusal"),
    [("code", None), ("absent code", NP), ("data", GP), ("L and D", GP), ("gate", GP)],
)
def test_a_far_jump_goes_where_ring_3_may_go(how: str, name: str, refusal: int | None, user: bool) -> None:
    selector = SELECTORS[name]
    answer = outcome(far(how, selector), user)
    assert answer == (None if refusal is None else (refusal, selector & ~3))


@BOTH
@pytest.mark.parametrize("how", FAR)
def test_a_far_jump_stays_within_the_segment(how: str, user: bool) -> None:
    assert outcome(far(how, SELECTORS["code"], 1 << 47), user) == (GP, 0)
    assert outcome(far(how, SELECTORS["short"], 0x1000), user) == (GP, 0)
    assert outcome(far(how, SELECTORS["code32"], UPPER + CODE), user) == (GP, 0)


def test_a_gate_that_is_absent_says_so_to_a_jump_alone() -> None:
    selector = SELECTORS["absent gate"]
    assert [outcome(far(how, selector)) for how in ("ljmp", "lcall", "lret", "iret")] == [
        (NP, selector & ~3), (NP, selector & ~3), (GP, selector & ~3), (GP, selector & ~3)
    ]  # fmt: skip


@BOTH
def test_a_stack_segment_that_is_absent_is_a_stack_fault(user: bool) -> None:
    selector = SELECTORS["absent"]
    assert outcome(f"mov ${selector}, %eax; mov %eax, %ss", user) == (SS, selector & ~3)
    assert outcome(f"push ${selector}; push $0x50000; push $2; push $0xe033; pushq $0; iretq", user) == (
        SS,
        selector & ~3,
    )
    assert outcome(f"mov ${selector}, %eax; mov %eax, %ds", user) == (NP, selector & ~3)


@BOTH
def test_compatibility_code_has_the_base_of_a_stack_that_was_loaded_before(user: bool) -> None:
    program = run(
        f"mov ${SELECTORS['based']}, %eax; mov %eax, %ss; movl $0x1234, {DATA + 0x810}; mov $0x810, %esp\n"
        f"lea 1f(%rip), %rcx; mov %rcx, {DATA}; movw ${SELECTORS['code32']}, {DATA + 8}; rex.w ljmp *{DATA}\n"
        ".code32; 1: pop %ebx; push $0x77; hlt; .code64",
        user,
    )
    assert program.gpr[RBX] == 0x1234
    assert program.gpr[RSP] == 0x810
    assert program.read(DATA + 0x810, 4) == b"\x77\0\0\0"


@pytest.mark.parametrize("how", FAR)
def test_a_far_jump_of_user_mode_uses_the_stack_with_the_rights_of_user_mode(how: str) -> None:
    above = f"mov ${UPPER + STACK - 64}, %rsp; lea 1f(%rip), %rcx;"
    instruction = {"lret": "lretq", "iret": "iretq", "ljmp": "mov (%rsp), %eax"}.get(
        how, FAR["lcall"].format(selector=0xE033)
    )
    vector, error = outcome(f"{above} {instruction}; 1:", user=True) or (0, 0)
    assert (vector, error & (PRESENT | USER)) == (PF, PRESENT | USER)


@pytest.mark.parametrize(
    ("instruction", "vector"),
    [
        ("mov (%rsp), %al", SS), ("mov (%rbp), %al", SS), ("mov %al, 8(%rsp,%rbx)", SS), ("mov (%rax), %bl", GP),
        ("mov (%r12), %bl", GP), ("mov (%r13), %bl", GP), ("mov (%rbx,%rbp), %al", GP),
        (".byte 0x36; mov (%rax), %bl", GP), (".byte 0x3e; mov (%rsp), %bl", SS), (".byte 0x26; mov (%rbp), %bl", SS),
        ("mov %fs:(%rsp), %bl", GP), ("mov %gs:(%rbp), %bl", GP), (".byte 0x64, 0x36; mov (%rbp), %bl", GP),
        ("push %rax", SS), ("pop %rax", SS), ("push $1", SS), ("pushf", SS), ("popf", SS), ("call .+5", SS),
        ("ret", SS), ("ret $8", SS), ("lretq", SS), ("iretq", SS), ("enter $8, $0", SS), ("leave", SS),
        ("push %fs", SS), ("pop %gs", SS),
        ("call *%rbx", SS), ("incl (%rsp)", SS), ("movups (%rbp), %xmm0", SS), ("fldl (%rsp)", SS), ("fldl (%rax)", GP),
        ("lock incl (%rbp)", SS), ("lock incl (%rax)", GP), ("mov %rax, %rsi; lodsb", GP),
        ("mov %rax, %rdi; stosb", GP),
    ],
)  # fmt: skip
@BOTH
def test_what_is_not_canonical_is_a_stack_fault_where_it_is_of_the_stack(
    instruction: str, vector: int, user: bool
) -> None:
    wild = "; ".join(f"mov %rax, %{name}" for name in ("rsp", "rbp", "r12", "r13"))
    assert outcome(f"mov $0x8000000000000000, %rax; {wild}; xor %ebx, %ebx; {instruction}", user) == (vector, 0)


@BOTH
@pytest.mark.parametrize(("instruction", "vector"), [("push (%rax)", GP), ("pop (%rax)", GP), ("call *(%rax)", GP)])
def test_the_operand_of_a_push_is_none_of_the_stack(instruction: str, vector: int, user: bool) -> None:
    assert outcome(f"mov $0x8000000000000000, %rax; {instruction}", user) == (vector, 0)


def test_an_operand_that_ends_where_nothing_is_canonical_counts_too() -> None:
    assert outcome("mov $0x7fffffffffff, %rbp; mov (%rbp), %eax")[0] in (SS, PF)  # type: ignore[index]


@BOTH
@pytest.mark.parametrize(
    ("instruction", "vector", "length"),
    [
        ("int $0x80", 0x80, 2),
        ("int $0x30", 0x30, 2),
        ("int3", 3, 1),
        (".byte 0xcd, 3", 3, 2),
        ("mov $0x7f, %al; inc %al; into", 4, 5),
    ],
)
def test_compatibility_code_calls_by_interrupt_as_other_code_does(
    instruction: str, vector: int, length: int, user: bool
) -> None:
    program = run(f"push $0xe023; lea 1f(%rip), %rcx; push %rcx; lretq; .code32; 1: {instruction}; .code64", user)
    assert program.last[:2] == ("interrupt", vector)
    assert program.rip == program.gpr[RCX] + length


# --- the shadow of a load of SS


@BOTH
@pytest.mark.parametrize(("load", "length"), [(f"mov {DATA}, %ss", 7), (f"mov ${DATA}, %eax; mov (%rax), %ss", 7)])
def test_a_watchpoint_hit_by_a_load_of_ss_is_told_after_the_next_instruction(
    load: str, length: int, user: bool
) -> None:
    program = Program(assemble(f"{load}; inc %ebx; inc %ebx; {LEAVE}"), user)
    program.set_debugreg(0, DATA)
    program.set_debugreg(7, 1 | 3 << 16 | 3 << 18)  # four bytes, read or written
    program.write(DATA, struct.pack("<IH", 0xE02B, 0xE02B))
    program.run()
    assert program.last[:2] == ("exception", DB)
    assert program.last[3] & 0x400F == 1
    assert (program.rip, program.gpr[RBX]) == (CODE + length + 2, 1)
    program.run()
    assert (program.last[0], program.gpr[RBX]) == ("syscall", 2)


@BOTH
def test_a_single_step_stops_after_what_follows_a_load_of_ss(user: bool) -> None:
    source = "mov $0xe02b, %eax; pushf; orq $0x100, (%rsp); popf; nop; mov %eax, %ss; inc %ebx; inc %ebx"
    program = run(source, user)
    stops = []
    for _ in range(3):
        assert program.last[:2] == ("exception", DB)
        stops.append((program.rip, program.gpr[RBX]))
        program.run()
    first = stops[0][0]
    assert stops == [(first, 0), (first + 4, 1), (first + 6, 2)]


@BOTH
def test_a_watchpoint_is_lost_where_the_next_instruction_enters_the_hypervisor(user: bool) -> None:
    program = Program(assemble(f"mov {DATA}, %ss; int3; inc %ebx; {LEAVE}"), user)
    program.set_debugreg(0, DATA)
    program.set_debugreg(7, 1 | 3 << 16 | 3 << 18)
    program.write(DATA, b"\x2b\xe0")
    program.run()
    assert program.last[:2] == ("interrupt", BP)
    program.run()
    assert (program.last[0], program.gpr[RBX]) == ("syscall", 1)
