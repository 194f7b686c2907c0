"""CPUID in native code, wherever its bytes come from: the answer is always the guest's, never the host's."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.assembler import assemble
from tests.conformance.test_native import CR4_FSGSBASE, R12, RBX, native
from xenia.cpu.engines.native import host
from xenia.testing.bare import CODE, DATA, ROOT, TABLE, Program

assert native  # is there for the whole module

XEN = int.from_bytes(b"XenV", "little")  # leaf 0x40000000 in ebx
LEAF = 0x40000000
LEAVE = "xor %eax, %eax; syscall"
PAGE, ALIAS = 0x200000 - 0x10000, 0x200000 - 0x20000  # what is at ALIAS can be mapped elsewhere
CPUID = b"\x0f\xa2"
RET = b"\xc3"
FIVE = assemble("mov $5, %ebx; ret")
ASKS = CPUID + RET
CALL_USER, CALL_KERNEL, CALL_MAP, CALL_WRITE, CALL_ROOT = 1, 2, 3, 5, 8


@pytest.fixture(params=["eager", "looking"])
def way(request: pytest.FixtureRequest) -> str:
    """As this host has it; and where that is its processor, by what is mapped too."""
    name: str = request.param
    return name


def looks(way: str) -> bool:
    """Is code looked at before it runs?"""
    return way == "looking" or not host.hides_cpuid()


def program(source: str, way: str) -> Program:
    made = Program(assemble(source), True, engine=way)
    made.set_cr4(CR4_FSGSBASE)
    return made


def call(at: str = f"${PAGE}") -> str:
    """What a function answers in ebx, when it is asked for that leaf."""
    return f"mov ${LEAF}, %eax; xor %ecx, %ecx; mov {at}, %r11; call *%r11;"


def ends(made: Program) -> None:
    while not made.run():
        pass
    assert made.last[0] == "syscall"
    assert made.stale_translations() == []
    assert made.statistics["native_lost"] == 0


def answer(made: Program) -> int:
    ends(made)
    return made.gpr[RBX]


PREFIXES = [b"", b"\x66", b"\xf2", b"\xf3\x48", b"\x2e" * 13]


@pytest.mark.parametrize("prefix", PREFIXES, ids=[prefix.hex() or "none" for prefix in PREFIXES])
def test_at_every_place_in_a_page_and_over_its_end(prefix: bytes, way: str) -> None:
    made = program(f"{call('(%rsi)')} {LEAVE}", way)
    for offset in (0, 1, 2, 15, 100, 2047, *range(4075, 4098)):
        made.write(DATA, (PAGE + offset).to_bytes(8, "little"))
        made.write(PAGE, bytes(3 * 4096))
        made.write(PAGE + offset, prefix + ASKS)
        made.go_to(CODE, {6: DATA, RBX: 0})
        made.forget(PAGE, 3 * 4096)
        assert answer(made) == XEN, offset
    assert made.statistics["native_syscalls"] > 0


def test_in_the_middle_of_an_immediate(way: str) -> None:
    made = program(f"jmp 1f; 2: movabs $0x90c3a20f, %rdx; ret; 1: {call()} {LEAVE}", way)
    made.write(PAGE, assemble(f"movabs ${int.from_bytes(ASKS, 'little')}, %rdx; mov $5, %ebx; ret"))
    assert answer(made) == 5
    made.write(CODE, assemble(f"{call(f'${PAGE + 2}')} {LEAVE}"))
    made.go_to(CODE, {})
    made.forget(CODE, 4096)
    assert answer(made) == XEN


def written(at: int, code: bytes) -> str:
    padded = int.from_bytes(code.ljust(8, b"\x90"), "little")
    return f"movabs ${padded}, %rdx; mov %rdx, {at};"


@pytest.mark.parametrize("place", [0, 4090])
def test_what_a_program_writes_and_runs_again_and_again(place: int, way: str) -> None:
    at = PAGE + place
    source = f"""
        xor %r12d, %r12d
        xor %r13d, %r13d
        mov $50, %r14d
    1:  {written(at, FIVE)} {call(f"${at}")} add %rbx, %r12
        {written(at, ASKS)} {call(f"${at}")} add %rbx, %r13
        dec %r14d
        jnz 1b
        mov %r13, %rbx
        mov %r12, %rcx
        {LEAVE}"""
    made = program(source, way)
    ends(made)
    assert (made.gpr[12], made.gpr[13]) == (250, 50 * XEN)


@pytest.mark.parametrize("written_first", [False, True])
def test_through_another_address_of_the_same_frame(written_first: bool, way: str) -> None:
    touch = written(ALIAS, FIVE)
    source = f"""
        mov ${ALIAS >> 12}, %edi; mov ${PAGE | 7}, %esi; mov ${CALL_MAP}, %eax; syscall
        {touch if written_first else ""}
        {call()} mov %rbx, %r12
        {written(ALIAS, ASKS)}
        {call()} mov %rbx, %r13
        {written(ALIAS, FIVE)}
        {call(f"${ALIAS}")} mov %rbx, %r14
        {LEAVE}"""
    made = program(source, way)
    made.write(PAGE, FIVE)
    ends(made)
    assert (made.gpr[12], made.gpr[13], made.gpr[14]) == (5, XEN, 5)


def test_from_another_address_space(way: str) -> None:
    other = (0x300000 >> 12) + 1
    go = "mov ${}, %edi; mov $" + str(CALL_ROOT) + ", %eax; syscall;"
    source = f"""
        {call()} mov %rbx, %r12
        {go.format(other)} {written(PAGE, ASKS)}
        {call()} mov %rbx, %r14
        {go.format(ROOT)} {call()} mov %rbx, %r13
        {LEAVE}"""
    made = program(source, way)
    made.write(PAGE, FIVE)
    made.write(other << 12, made.read(ROOT << 12, 4096))
    ends(made)
    assert (made.gpr[12], made.gpr[13], made.gpr[14]) == (5, XEN, XEN)
    assert made.statistics["native_moves"] == 2


def test_by_the_guests_kernel(way: str) -> None:
    source = f"""
        mov $30, %r14d
        xor %r12d, %r12d; xor %r13d, %r13d
    1:  {call()} add %rbx, %r12
        mov ${CALL_KERNEL}, %eax; syscall
        {written(PAGE, ASKS)}
        mov ${CALL_USER}, %eax; syscall
        {call()} add %rbx, %r13
        mov ${CALL_KERNEL}, %eax; syscall
        mov ${PAGE}, %edi; mov ${DATA}, %esi; mov $8, %ecx; rep movsb
        mov ${CALL_USER}, %eax; syscall
        dec %r14d
        jnz 1b
        {LEAVE}"""
    made = program(source, way)
    made.write(PAGE, FIVE)
    made.write(DATA, FIVE.ljust(8, b"\x90"))
    ends(made)
    assert (made.gpr[12], made.gpr[13]) == (150, 30 * XEN)


def test_by_xen_itself_a_byte_at_a_time(way: str) -> None:
    write = "mov ${}, %edi; mov ${}, %esi; mov $" + str(CALL_WRITE) + ", %eax; syscall;"
    made = program(
        f"{call()} mov %rbx, %r12; "
        + "".join(write.format(PAGE + at, byte) for at, byte in enumerate(ASKS))
        + f"{call()} {LEAVE}",
        way,
    )
    made.write(PAGE, FIVE)
    assert (answer(made), made.gpr[12]) == (XEN, 5)


def test_by_a_page_table_that_is_read_as_code(way: str) -> None:
    # The frame is a table to the guest's memory rules: nobody tells of what is written there.
    made = program(f"{call()} {LEAVE}", way)
    made.write(PAGE, FIVE)
    made.type_table(PAGE)
    assert answer(made) == 5
    made.write(PAGE, ASKS)
    made.go_to(CODE, {})
    made.forget(0, 0)
    assert answer(made) == XEN
    assert made.statistics["native_others"] >= 2 or not looks(way)


SPINS = f"""
    1:  {call()}
        cmp $5, %ebx
        je 1b
        cmp ${XEN}, %ebx
        je 2f
        mov %ebx, {DATA + 8}
        {LEAVE}
    2:  mov %ebx, {DATA}
        cmpl $0, {DATA + 16}
        je 1b
        {LEAVE}
"""


def test_by_who_was_lent_the_frame_while_it_runs(way: str) -> None:
    made = program(SPINS, way)
    made.write(PAGE, FIVE)
    ended = threading.Event()

    def run() -> None:
        while not made.run():
            pass
        ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        for _ in itertools.takewhile(lambda _: not ended.is_set(), range(200)):
            made.lend(PAGE)
            made.write(PAGE, ASKS)
            assert made.read(DATA + 8, 4) == bytes(4)
            made.write(PAGE, FIVE)
            made.take_back(PAGE)
            made.kick()
    finally:
        made.write(DATA + 16, b"\1")
        made.lend(PAGE)
        made.write(PAGE, ASKS)
        made.take_back(PAGE)
        while thread.is_alive():
            made.kick()
            thread.join(0.01)
    assert made.read(DATA + 8, 4) == bytes(4)
    assert made.last[0] == "syscall"


def test_a_frame_that_is_lent_is_not_executed_natively(way: str) -> None:
    made = program(f"mov $20, %ebp; 1: {call()} dec %ebp; jnz 1b; {LEAVE}", way)
    made.write(PAGE, FIVE)
    made.lend(PAGE)
    assert answer(made) == 5
    lent = made.statistics["native_others"]
    made.take_back(PAGE)
    made.go_to(CODE, {})
    assert answer(made) == 5
    assert (lent, made.statistics["native_others"] - lent) == ((20, 0) if looks(way) else (0, 0))


def test_an_instruction_that_stores_to_its_own_page_is_done(way: str) -> None:
    made = program(f"mov $100, %ecx; 1: incl 2f(%rip); dec %ecx; jnz 1b; mov 2f(%rip), %ebx; {LEAVE}; 2: .long 0", way)
    assert answer(made) == 100


def test_each_turn_of_a_page_that_is_written_and_executed_by_turns_is_a_crossing_that_the_policy_counts(
    way: str,
) -> None:
    made = program(f"mov $50, %r14d; 1: incl {PAGE + 0x800}; {call()} dec %r14d; jnz 1b; {LEAVE}", way)
    made.write(PAGE, FIVE)
    assert answer(made) == 5
    assert made.statistics["native_others"] >= 49 or not looks(way)


def test_code_beside_such_a_page_is_native_again(way: str) -> None:
    made = program(f"{call()} {LEAVE}", way)
    made.write(PAGE, ASKS)
    assert answer(made) == XEN
    assert (made.statistics["native_syscalls"], made.statistics["native_others"]) == (1, 1)


COMPUTES = assemble("xor %ebx, %ebx; mov $30, %ecx; " * 16 + "1: add $3, %ebx; dec %ecx; jnz 1b; ret")


def test_code_on_the_same_page_is_native_and_only_the_instruction_is_not(way: str) -> None:
    made = program(
        f"mov $50, %ebp; 1: {call()} dec %ebp; jnz 1b; mov %ebx, %r12d; {call(f'${PAGE + 0x800}')} {LEAVE}", way
    )
    made.write(PAGE, COMPUTES)
    made.write(PAGE + 0x7C0, b"\x90" * 64 + ASKS)
    assert answer(made) == XEN
    assert made.gpr[R12] == 90
    assert made.statistics["native_others"] == 1


def test_who_reads_such_a_page_reads_what_is_there(way: str) -> None:
    if "ospke" not in Path("/proc/cpuinfo").read_text().split():
        pytest.skip("this host's processor cannot let a page be executed and not read (PKU)")
    made = program(f"{call()} mov {PAGE + 0x840}, %ebx; {LEAVE}", way)
    made.write(PAGE, COMPUTES)
    made.write(PAGE + 0x800, b"\x90" * 64 + ASKS)
    assert answer(made) & 0xFFFF == int.from_bytes(CPUID, "little")


def test_in_the_middle_of_a_displacement_the_page_is_native(way: str) -> None:
    made = program(f"mov $50, %ebp; 1: {call()} dec %ebp; jnz 1b; {LEAVE}", way)
    made.write(PAGE, COMPUTES[:-1] + b"\x0f\x85\x0f\xa2\x00\x00\xc3")  # jne, which is not taken
    ends(made)
    assert made.statistics["native_others"] == 0


def test_more_such_pages_than_there_are_copies(way: str) -> None:
    # What has no copy is emulated; what was written to since gives its copy back.
    first, nr = 0x100000, 140
    made = program(f"1: mov %r12, %rdi; {call('%rdi')} add $4096, %r12; dec %ebp; jnz 1b; {LEAVE}", way)
    for page in range(nr):
        at = first + page * 4096
        made.write((TABLE << 12) + (at >> 9), (at | 0x25).to_bytes(8, "little"))
        made.write(at, b"\x90" * 64 + ASKS)
    for _ in range(3):
        made.go_to(CODE, {5: nr, R12: first, RBX: 0})
        made.forget(first, nr * 4096)
        assert answer(made) == XEN


SIX = assemble("mov $6, %ebx; ret")
WRITERS = [
    lambda way: test_what_a_program_writes_and_runs_again_and_again(0, way),
    lambda way: test_through_another_address_of_the_same_frame(False, way),
    lambda way: test_through_another_address_of_the_same_frame(True, way),
    lambda way: test_from_another_address_space(way),
    lambda way: test_by_the_guests_kernel(way),
    lambda way: test_by_xen_itself_a_byte_at_a_time(way),
    lambda way: test_by_who_was_lent_the_frame_while_it_runs(way),
]


@pytest.mark.parametrize("writer", WRITERS, ids=range(len(WRITERS)))
def test_a_copy_does_not_outlive_what_it_is_of(
    writer: Callable[[str], None], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests above, where the page has a copy before and afterwards, and what is written there answers six."""

    plain = program

    def with_copy(source: str, way: str) -> Program:
        made = plain(source.replace(str(XEN), "6"), way)
        made.write(PAGE, b"\x90" * 0x800 + b"\x90" * 64 + CPUID + RET)
        return made

    for name, value in {"ASKS": SIX, "SPINS": SPINS.replace(str(XEN), "6"), "XEN": 6, "program": with_copy}.items():
        monkeypatch.setitem(globals(), name, value)
    writer(way)


def test_a_frame_at_many_addresses_has_one_copy(way: str) -> None:
    first, whole = 0x100000, (COMPUTES + b"\x90" * 64 + ASKS).ljust(4096, b"\x90")

    def others_of_two_pages() -> int:
        for page in (0x1A0000, 0x1B0000):
            made.write(page, whole)
        made.forget(0x1A0000, 0x20000)
        made.write(CODE, assemble(f"{call('$0x1a0000')} {call('$0x1b0000')} {LEAVE}"))
        made.forget(CODE, 4096)
        before = made.statistics["native_others"]
        made.go_to(CODE, {})
        ends(made)
        return made.statistics["native_others"] - before

    made = program(f"{call('%rdi')} {LEAVE}", way)
    assert others_of_two_pages() == 0
    for page in range(first, first + 32 * 4096, 4096):
        made.write((TABLE << 12) + (page >> 9), (first | 0x25).to_bytes(8, "little"))
    made.write(CODE, assemble(f"{call('%rdi')} {LEAVE}"))
    made.forget(CODE, 4096)
    for _ in range(7):
        made.write(first, whole)
        made.forget(first, 4096)
        made.go_to(CODE, {7: first})
        ends(made)
    assert others_of_two_pages() == 0


def test_who_reads_such_a_page_all_the_time_is_emulated_again() -> None:
    turns = 20_000
    reads = f"{call()} mov {PAGE + 0x840}, %ebx; mov $6, %eax; syscall"
    made = program(f"mov ${turns}, %ebp; 1: {reads}; dec %ebp; jnz 1b; {LEAVE}", "native")
    made.write(PAGE, assemble("mov $4200, %ecx; 1: dec %ecx; jnz 1b; ret").ljust(0x840, b"\x90") + ASKS)
    ends(made)
    assert made.statistics["native_others"] < turns // 2


def test_the_stub_itself_has_none() -> None:
    code = host.program()[0x1000:0x2000]
    assert code.strip(b"\0") and CPUID not in code and not code.startswith(CPUID[1:])


def test_by_who_was_lent_the_frame_while_it_is_looked_at(way: str) -> None:
    # Those before it take long to look at, and are looked at with it, since they may not be written to.
    first, last = 0x100000, 0x11F000
    made = program(f"{call('(%rsi)')} {LEAVE}", way)
    for page in range(first, last + 1, 4096):
        made.write((TABLE << 12) + (page >> 9), (page | 0x25).to_bytes(8, "little"))
        made.write(page, FIVE.ljust(4096, CPUID[1:]))
    begins, lent = threading.Barrier(2), threading.Barrier(2)

    def lend(patience: int) -> None:
        begins.wait()
        for _ in range(patience):
            pass
        made.lend(last)
        lent.wait()
        made.write(last, ASKS)
        made.take_back(last)

    for patience in range(0, 40000, 400):
        thread = threading.Thread(target=lend, args=(patience,))
        thread.start()
        made.write(last, FIVE)
        made.write(DATA, first.to_bytes(8, "little"))
        made.go_to(CODE, {6: DATA})
        made.forget(first, last + 4096 - first)
        begins.wait()
        assert answer(made) == 5
        lent.wait()
        thread.join()
        made.write(DATA, last.to_bytes(8, "little"))
        made.go_to(CODE, {6: DATA})
        assert answer(made) == XEN, patience
