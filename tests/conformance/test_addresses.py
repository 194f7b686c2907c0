"""Code of one frame that runs at many addresses: what it learns of its own address is the one that it runs at.

An engine may translate it once for all of them.  The programs run in user mode; their functions are on the frame of
PAGES[0], which is mapped at all of PAGES.
"""

from __future__ import annotations

import struct

import pytest

from tests.assembler import assemble
from xenia.testing.bare import CODE, DATA, STACK, TABLE, Program

pytestmark = pytest.mark.usefixtures("engine")

RSP = 4
FRAME = 0x1000
PAGES = (0x100000, 0x15A000, 0x1FE000)
# Where the emulated engine has such code (relative.c): no address at all, and so no guest's.
NOWHERE = 0x4A5C_3E00_0000_0000
LEAVE = "xor %eax, %eax; syscall"


def mapped(code: str, program: str, at: int = 0) -> Program:
    """The program, and the code at that offset in each page."""
    made = Program(assemble(f"start: {program}; {LEAVE}"), user=True)
    made.write(PAGES[0] + at, assemble(code))
    for page in PAGES[1:]:
        lead(made, page, PAGES[0])
    return made


def lead(program: Program, page: int, frame: int) -> None:
    """The page is that frame."""
    program.write((TABLE << 12) + 8 * (page >> 12), struct.pack("<Q", frame | 7))


def call_each(at: int = 0, times: int = 3) -> str:
    """Calls at each address, several times around, each time with what it answers on the stack."""
    return f"mov ${times}, %r12d; 5:" + "".join(
        f"mov ${page + at}, %ebx; call *%rbx; push %rax;" for page in PAGES
    ) + "dec %r12d; jnz 5b"  # fmt: skip


def answers(program: Program, nr: int) -> list[int]:
    """What was pushed, the first one first."""
    words: list[int] = [int(word[0]) for word in struct.iter_unpack("<Q", program.read(program.gpr[RSP], 8 * nr))]
    return words[::-1]


ITS_ADDRESS = {  # in rax the address of the function's first byte
    "lea": "lea (%rip), %rax; sub $7, %rax; ret",
    "lea below": "lea -0x70000000(%rip), %rax; add $0x6ffffff9, %rax; ret",
    "lea above": "lea 0x7fffffff(%rip), %rax; sub $0x7ffffff9, %rax; sub $13, %rax; ret",
    "lea of 32 bits": "lea (%eip), %rax; sub $8, %rax; ret",
    "return address": "call 1f; 1: pop %rax; sub $5, %rax; ret",
    "indirect call": "lea 1f(%rip), %rax; call *%rax; 1: pop %rax; sub $9, %rax; ret",
    "load": "mov word(%rip), %rax; lea word(%rip), %rdx; sub %rax, %rdx; mov %rdx, %rax; ret; word: .quad word - start",
    "table": (
        "mov $1, %ecx; lea table(%rip), %rdx; movslq (%rdx, %rcx, 4), %rax; add %rdx, %rax; jmp *%rax;"
        "table: .long 0, there - table; there: lea start(%rip), %rax; ret"
    ),
    "loop": "mov $100, %ecx; 1: dec %ecx; jnz 1b; lea start(%rip), %rax; ret",
    "far in its page": "jmp 1f; .fill 0xa00, 1, 0x90; 1: lea start(%rip), %rax; jmp 2f; .fill 500, 1, 0x90; 2: ret",
    "conditional": "xor %eax, %eax; jnz 1f; lea start(%rip), %rax; ret; 1: ud2",
    "system call": "mov $6, %eax; syscall; mov %rcx, %rax; sub $7, %rax; ret",
    "a call that is compared": (
        "call 1f; 1: lea 1b(%rip), %rax; cmp (%rsp), %rax; jne 2f; add $8, %rsp; lea start(%rip), %rax; 2: ret"
    ),
    "a number like its address": "movabs $0x4a5c3e0000000123, %rdx; lea start(%rip), %rax; ret",
    "a number and its address": (
        f"movabs ${NOWHERE}, %rdx; lea start(%rip), %rax; mov $1, %ecx; shl $62, %rcx; or %rcx, %rdx;"
        f"movabs ${NOWHERE}, %rcx; cmp %rcx, %rdx; je 1f; xor %eax, %eax; 1: ret"
    ),
    "x87": "fldz; fnstenv -32(%rsp); fstp %st; lea start(%rip), %rax; ret",
}


@pytest.mark.parametrize("code", ITS_ADDRESS.values(), ids=ITS_ADDRESS)
@pytest.mark.needs("every_instruction")
def test_code_knows_the_address_that_it_runs_at(code: str) -> None:
    program = mapped(f"start: {code}", call_each())
    assert program.run()
    assert answers(program, 9) == 3 * [*PAGES]


@pytest.mark.parametrize("at", [0, 0x800, FRAME - 40])
@pytest.mark.needs("every_instruction")
def test_a_number_in_the_code_is_no_address(at: int) -> None:
    # Near where such code is taken to be, and the same before and after it.
    for near in (-(1 << 31), -1, 0, at, FRAME, 2 * FRAME + 15, (1 << 31) - 1):
        program = mapped(f"movabs ${NOWHERE + near}, %rax; ret", call_each(at), at)
        assert program.run()
        assert answers(program, 9) == 9 * [NOWHERE + near]


@pytest.mark.needs("every_instruction")
def test_a_fault_is_told_at_the_address_that_it_runs_at() -> None:
    for page in PAGES:
        program = mapped("nop; nop; mov 0x7ffff000, %eax; ret", f"mov ${page}, %ebx; call *%rbx")
        for other in (*PAGES, page):
            program.go_to(other, {})
            assert program.run()
            assert (program.last, program.rip) == (("exception", 14, 4, 0x7FFFF000), other + 2)


@pytest.mark.needs("every_instruction")
def test_an_instruction_on_two_pages_ends_where_its_second_one_leads() -> None:
    program = mapped("mov $0x01010101, %eax; ret", call_each(FRAME - 3), FRAME - 3)
    ends = [PAGES[0] + FRAME, 0x200000 - FRAME, 0x300000]
    for number, (page, end) in enumerate(zip(PAGES, ends, strict=True)):
        lead(program, page + FRAME, end)
        program.write(end, bytes([number, number]) + assemble("ret"))
    assert program.run()
    assert answers(program, 9) == 3 * [number << 24 | number << 16 | 0x0101 for number in range(3)]


@pytest.mark.needs("every_instruction")
def test_a_jump_leaves_for_the_page_that_follows_where_it_runs() -> None:
    # A block over the end of the page, from whose second page a jump leads back, or on within that.
    code = "1: nop; nop; mov $2, %ecx; 2: dec %ecx; jnz 2b; lea 1b(%rip), %rax; ret"
    program = mapped(code, call_each(FRAME - 5), FRAME - 5)
    ends = [PAGES[0] + FRAME, 0x200000 - FRAME, 0x300000]
    rest = assemble(code)[5:]
    for page, end in zip(PAGES, ends, strict=True):
        lead(program, page + FRAME, end)
        program.write(end, rest)
    assert program.run()
    assert answers(program, 9) == 3 * [page + FRAME - 5 for page in PAGES]


@pytest.mark.needs("every_instruction")
def test_code_that_is_of_one_address_is_not_jumped_to_from_another() -> None:
    # From a block over the end of the page; a number like that keeps what is behind it from running anywhere.
    code = f"nop; nop; mov $2, %ecx; jmp 2f; nop; 2: movabs ${NOWHERE}, %rdx; lea 2b(%rip), %rax; ret"
    program = mapped(code, call_each(FRAME - 5), FRAME - 5)
    for page in PAGES:
        lead(program, page + FRAME, 0x300000)
    program.write(0x300000, assemble(code)[5:])
    assert program.run()
    assert answers(program, 9) == 3 * [page + FRAME + 5 for page in PAGES]


def test_a_jump_of_16_bits_goes_where_its_address_cut_off_is(engine: str) -> None:
    if engine != "emulated":
        pytest.skip("processors differ: some take no notice of the prefix")
    program = mapped("data16; .byte 0xe9, 0x20, 0", call_each())
    for number, page in enumerate(PAGES):
        program.write((page + 0x24) & 0xFFFF, assemble(f"mov ${number}, %eax; ret"))
    assert program.run()
    assert answers(program, 9) == 3 * [0, 1, 2]


WRITES = {
    "there": f"movb $7, {PAGES[0] + 1};",
    "at another address": f"movb $7, {PAGES[1] + 1};",
    "by someone else": f"mov $5, %eax; mov ${PAGES[0] + 1}, %edi; mov $7, %esi; syscall;",
    "by a string instruction": f"mov ${PAGES[2] + 1}, %edi; mov $1, %ecx; mov $7, %eax; rep stosb;",
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_what_is_written_is_run_at_every_address(write: str) -> None:
    calls = "".join(f"mov ${page}, %ebx; call *%rbx; push %rax;" for page in PAGES)
    program = mapped("mov $1, %eax; ret", f"mov $3, %r12d; 5: {calls} dec %r12d; jnz 5b; {write} {calls} {calls}")
    assert program.run()
    assert answers(program, 15) == 9 * [1] + 6 * [7]


def test_a_page_that_becomes_another_frame_runs_that() -> None:
    remap = f"mov $3, %eax; mov ${PAGES[1] >> 12}, %edi; mov ${0x180000 | 7}, %esi; syscall;"
    program = mapped("mov $1, %eax; ret", f"{call_each()}; {remap} {call_each()}")
    program.write(0x180000, assemble("mov $2, %eax; ret"))
    assert program.run()
    assert answers(program, 18) == 9 * [1] + 3 * [1, 2, 1]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.needs("debug_registers")
def test_a_breakpoint_is_at_one_address(page: int) -> None:
    program = mapped("nop; mov $1, %eax; ret", f"{call_each()}; mov $6, %eax; syscall; {call_each()}")
    assert program.run()
    program.go_to(CODE, {RSP: STACK})
    program.set_debugreg(0, page + 1)
    program.set_debugreg(7, 1)
    assert program.run()
    assert (program.last[:2], program.rip) == (("exception", 1), page + 1)


@pytest.mark.needs("every_instruction")
def test_single_steps_stop_at_the_address_that_it_runs_at() -> None:
    program = mapped("nop; lea (%rip), %rax; jmp 1f; nop; 1: ret", call_each())
    assert program.run()
    for page in PAGES:
        seen = []
        program.go_to(page, {RSP: STACK})
        for _ in range(3):
            program.set_rflags(0x302)
            assert program.run()
            seen.append(program.rip - page)
        assert seen == [1, 8, 11]


@pytest.mark.needs("every_instruction")
@pytest.mark.parametrize("at", [0, 1, 0x7FF])
def test_no_address_leads_into_code_that_runs_anywhere(at: int) -> None:
    program = mapped("mov $1, %eax; ret", f"{call_each(at)}; movabs ${NOWHERE + at}, %rax; push %rax; ret", at)
    assert program.run()
    assert program.last[:2] == ("exception", 13)
    assert answers(program, 9) == 9 * [1]


def test_code_is_translated_once_for_all_its_addresses(engine: str) -> None:
    if engine != "emulated":
        pytest.skip("it is the emulated engine that translates")
    blocks = []
    for pages in (PAGES[:1], range(0x100000, 0x1F0000, FRAME)):
        loop = "6: mov (%r13), %ebx; add $4, %r13; test %ebx, %ebx; jz 7f; call *%rbx; jmp 6b; 7:"
        program = mapped("call 1f; 1: pop %rax; jmp 2f; 2: dec %eax; ret", loop)
        for page in pages:
            lead(program, page, PAGES[0])
        program.write(DATA, b"".join(struct.pack("<I", page) for page in pages) + bytes(4))
        program.go_to(CODE, {13: DATA})
        assert program.run()
        blocks.append(program.statistics["blocks"])
    assert blocks[1] == blocks[0]


def test_it_stays_what_it_is_when_all_of_it_is_forgotten() -> None:
    program = mapped("lea (%rip), %rax; sub $7, %rax; ret", call_each())
    for _ in range(3):
        program.go_to(CODE, {RSP: STACK})
        assert program.run()
        assert answers(program, 9) == 3 * [*PAGES]
        program.forget(0, 0)
