"""Guest code in a stub that is up to no good, and stubs that end: none of it reaches anything but its own memory."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from tests.assembler import assemble
from xenia.cpu.engines.native import host
from xenia.errors import ConfigError
from xenia.testing.bare import CODE, DATA, Program

RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 = range(16)
PF, GP = 14, 13
CR4_FSGSBASE = 1 << 16
STUB, TEXT_END = 0x500000000000, 0x500000002000
CONTROL, REPORT, REPORT_SIZE = STUB + 0x100000, STUB + 0x200000, 0x8000
LOST = ("exception", GP, 0xFFF8, 0)  # what its process hears when a stub is given up
LEAVE = "xor %eax, %eax; syscall;"
PAGE = DATA + 0x1000


@pytest.fixture(autouse=True, scope="module")
def native() -> None:
    try:
        host.require()
    except ConfigError as lack:
        pytest.skip(str(lack))


def program(source: str) -> Program:
    """In user mode, all of it natively."""
    made = Program(assemble(source), True, engine="eager")
    made.set_cr4(CR4_FSGSBASE)
    return made


@pytest.fixture
def kicked() -> Iterator[list[Program]]:
    """Programs that would never leave: each is kicked every millisecond."""
    programs: list[Program] = []
    ended = threading.Event()

    def kick() -> None:
        while not ended.wait(0.001):
            for one in programs:
                one.kick()

    thread = threading.Thread(target=kick)
    thread.start()
    yield programs
    ended.set()
    thread.join()


def works(made: Program) -> bool:
    """Is it as it was, for whoever comes next?"""
    made.go_to(CODE, {})
    while not made.run():
        pass
    return made.last[0] == "syscall" and made.gpr[RBX] == 0x1234


SOUND = f"mov $0x1234, %ebx; mov %ebx, {DATA}; mov {DATA}, %ebx; {LEAVE}"


def test_user_code_runs_natively() -> None:
    made = program(SOUND)
    assert works(made) and made.statistics["native_syscalls"] == 1


def test_every_system_call_is_the_guests_whatever_its_number() -> None:
    made = program(f"syscall; mov %rax, %rbx; {LEAVE}")
    for number in [*range(11, 470), 0x40000000, 0xFFFFFFFF]:
        seen = made.exits
        made.go_to(CODE, {RAX: number, RDI: 0, RSI: 0x1000, RDX: 7, R10: 0x32, R8: 3, R9: 0})
        assert made.run() and (made.exits, made.gpr[RBX]) == (seen + 2, number)
    assert made.statistics["native_others"] == 0


@pytest.mark.parametrize("number", [1, 9, 10, 15, 57, 62, 101, 202, 231, 311, 425])
def test_a_jump_to_any_byte_of_the_stub_reaches_nothing(number: int, kicked: list[Program]) -> None:
    made = program(SOUND)
    assert works(made)
    kicked.append(made)
    for at in range(STUB + 0x1000, TEXT_END, 1 if number == 9 else 7):
        made.go_to(at, {RAX: number, RDI: os.getpid(), RSI: 9, RDX: 7, R10: 0x32, R8: 3, R9: 0,
                        RSP: DATA + 0x800, RBX: REPORT, RBP: CONTROL, R12: DATA, R13: 1})  # fmt: skip
        made.run()
    kicked.clear()
    assert made.exits > 100
    assert works(program(SOUND))


def test_what_of_the_stub_is_written_to_harms_nobody_else() -> None:
    made = program(f"mov %rax, %rbx; rep stosb; {LEAVE}")
    for start, length in ((STUB, 0x4000), (CONTROL, 0x4000), (REPORT, REPORT_SIZE), (REPORT + 0x1000, 0x7000)):
        for value in (0, 0x41, 0xFF):
            made.go_to(CODE, {RAX: value, RDI: start, RCX: length})
            made.run()
            assert made.last[0] == "syscall" or made.last[:2] in (("exception", PF), LOST[:2])
    sound = program(SOUND)
    assert works(sound)


def test_code_and_orders_of_a_stub_cannot_be_written() -> None:
    for at in (STUB + 0x1000, STUB + 0x1800, CONTROL, CONTROL + 0x40):
        made = program(f"movabs ${at}, %rdi; movq $1, (%rdi); {LEAVE}")
        made.run()
        assert made.last == ("exception", PF, 6, at)


FORGE = f"""
    movabs ${REPORT}, %rbx
    movabs ${CONTROL}, %rbp
    movl $1, {PAGE}
    mov ${PAGE >> 12}, %edi
    mov $0, %esi
    mov $3, %eax
    syscall                     # a first exit, from which there is a frame
    mov ${PAGE >> 12}, %edi
    mov ${PAGE | 7}, %esi
    mov $3, %eax
    syscall
    movl $1, {PAGE}
    mov $6, %eax
    syscall                     # the frame is of a system call
    mov 8(%rbx), %rdx           # the frame: it is to say that the page is unmapped now
    movq $3, 144(%rdx)
    movq ${PAGE >> 12}, 104(%rdx)
    movq $0, 112(%rdx)
    movq ${CODE}, 168(%rdx)
    mov (%rbp), %eax
    mov %eax, (%rbx)            # "it has left"
1:  incl {PAGE}
    jmp 1b
"""


def test_a_thread_that_only_says_it_left_is_ended_before_a_page_is_taken_from_it() -> None:
    made = program(FORGE)
    made.run()
    assert made.last[:2] == ("exception", PF)
    first = made.read(PAGE, 4)
    time.sleep(0.05)
    assert made.read(PAGE, 4) == first
    assert made.statistics["native_lost"] >= 1


BLOCKED = f"""
    mov ${DATA}, %rsp
    mov $15, %eax
    movabs ${{at}}, %rcx
    jmp *%rcx
"""


def test_a_forged_frame_that_blocks_signals_does_not_keep_a_program_from_being_stopped() -> None:
    made = program(SOUND)
    assert works(made)
    call = next(
        at for at in range(STUB + 0x1000, TEXT_END) if stub_bytes(made, at) == bytes.fromhex("b80f0000000f05f4")
    )
    spin = assemble("1: jmp 1b")
    made.write(CODE + 0x100, spin)
    frame = bytearray(0x400)
    frame[40 + 8 * 15 : 48 + 8 * 15] = (DATA + 0x800).to_bytes(8, "little")  # rsp
    frame[40 + 8 * 16 : 48 + 8 * 16] = (CODE + 0x100).to_bytes(8, "little")  # rip
    frame[40 + 8 * 17 : 48 + 8 * 17] = (0x202).to_bytes(8, "little")
    frame[40 + 8 * 18 : 48 + 8 * 18] = (0x2B << 48 | 0x33).to_bytes(8, "little")
    frame[296:304] = b"\xff" * 8  # every signal is blocked
    made.write(DATA, bytes(frame))
    made.go_to(call + 5, {RAX: 15, RSP: DATA})
    threading.Timer(0.1, made.kick).start()
    made.run()
    assert made.last == LOST or made.rip == CODE + 0x100
    assert works(made)


def stub_bytes(made: Program, at: int) -> bytes:
    return host.program()[at - STUB : at - STUB + 8]


def test_a_stub_that_is_killed_costs_its_process_and_nothing_else() -> None:
    made = program(f"mov $6, %eax; syscall; {SOUND}")
    assert works(made)
    before = stubs()
    spin = assemble("1: jmp 1b")
    made.write(CODE + 0x100, spin)
    made.go_to(CODE + 0x100, {})

    def kill() -> None:
        for process in before:
            os.kill(process, signal.SIGKILL)

    threading.Timer(0.1, kill).start()
    made.run()
    assert made.last == LOST
    assert works(made)


def stubs() -> list[int]:
    """Of this process's, those that have two threads."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            with open(f"/proc/{fields[1]}/stat") as file:
                grandparent = int(file.read().rpartition(")")[2].split()[1])
            with open(f"/proc/{grandparent}/stat") as file:
                if int(file.read().rpartition(")")[2].split()[1]) == os.getpid() and fields[17] == "2":
                    found.append(int(name))
        except OSError:
            continue
    return found


def test_a_spinning_program_is_stopped_by_a_kick(kicked: list[Program]) -> None:
    made = program("1: inc %rbx; jmp 1b")
    kicked.append(made)
    while made.gpr[RBX] == 0:
        assert not made.run()


def test_stops_at_random_change_no_result(kicked: list[Program]) -> None:
    source = f"""
        mov $20000000, %ecx
        mov $1, %rbx
    1:  lea (%rbx,%rbx,4), %rbx
        xor %rcx, %rbx
        lock incq {DATA}
        dec %rcx
        jnz 1b
        {LEAVE}
    """
    alone, disturbed = program(source), program(source)
    assert alone.run()
    kicked.append(disturbed)
    stops = 0
    while not disturbed.run():
        stops += 1
    assert stops > 0
    assert disturbed.gpr[RBX] == alone.gpr[RBX]
    assert disturbed.read(DATA, 8) == alone.read(DATA, 8) == (20000000).to_bytes(8, "little")
