"""Guest code in a stub that is up to no good, and stubs that end: none of it reaches anything but its own memory."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.assembler import assemble
from tests.stubs import exists, parent, stubs
from xenia.cpu.engines.native import engine, host
from xenia.errors import ConfigError
from xenia.machine.machine import MachineMemory
from xenia.testing.bare import CODE, DATA, FLAT, Program

RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 = range(16)
PF, GP = 14, 13
CR4_FSGSBASE = 1 << 16
STUB, TEXT_END = 0x500000000000, 0x500000002000
CONTROL, REPORT, REPORT_SIZE = STUB + 0x100000, STUB + 0x200000, 0x8000
LOST = ("exception", GP, 0xFFF8, 0)  # what its process hears when a stub is given up
LEAVE = "xor %eax, %eax; syscall;"
PAGE = DATA + 0x1000
JUMP, FORGES, KERNEL = CODE + 0x200, CODE + 0x300, CODE + 0x400


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
        jump(made, at, {RAX: number, RDI: os.getpid(), RSI: 9, RDX: 7, R10: 0x32, R8: 3, R9: 0,
                        RSP: DATA + 0x800, RBX: REPORT, RBP: CONTROL, R12: DATA, R13: 1})  # fmt: skip
        made.run()
    kicked.clear()
    assert made.exits > 100
    assert works(program(SOUND))


def jump(made: Program, at: int, gpr: dict[int, int]) -> None:
    """It goes there by itself: what begins there is emulated."""
    made.write(DATA + 0x900, at.to_bytes(8, "little"))
    made.write(JUMP, assemble(f"jmp *{DATA + 0x900}"))
    made.go_to(JUMP, gpr)


def test_code_that_begins_within_a_stub_is_emulated() -> None:
    made = program(SOUND)
    made.go_to(STUB + 0x1000, {})
    made.run()
    assert made.last == ("exception", PF, 0x14, STUB + 0x1000)
    assert made.statistics["native_moves"] == 0


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


def within_stub(source: str) -> int:
    """Where its handler has these instructions."""
    code = host.program()[0x1000:0x2000]
    return STUB + 0x1000 + code.index(assemble(source))


RUNS_ON = f"1: incl {PAGE}; jmp 1b"


def forge(edits: str, then: str = RUNS_ON) -> str:
    """A program that says it left user mode, with what `edits` made of the frame at rdx, and then does that."""
    return f"""
        movabs ${REPORT}, %rbx
        movabs ${CONTROL}, %rbp
        movl $1, {PAGE}
        mov $6, %eax
        syscall                     # the frame is of a system call
        mov 8(%rbx), %rdx
        {edits}
        mov (%rbp), %r13d
        mov %r13d, (%rbx)           # "it has left"
        {then}
    """


def sleeps() -> str:
    """As its handler does, if not there."""
    return f"movabs ${within_stub('mov $202, %eax; mov %rbp, %rdi')}, %rcx; jmp *%rcx"


def stands(made: Program) -> bool:
    """Nobody counts at PAGE."""
    first = made.read(PAGE, 4)
    time.sleep(0.05)
    return made.read(PAGE, 4) == first


def test_a_thread_that_only_says_it_left_is_ended_before_a_page_is_taken_from_it() -> None:
    made = program(forge(f"movq $3, 144(%rdx); movq ${PAGE >> 12}, 104(%rdx); movq $0, 112(%rdx)"))
    made.run()
    assert made.last[:2] == ("exception", PF)
    assert stands(made)
    assert made.statistics["native_lost"] >= 1


def test_a_thread_that_only_says_it_left_does_not_compute_while_its_vcpu_does_not_run() -> None:
    made = program(forge("movq $0, 144(%rdx)"))
    assert made.run() and made.last[0] == "syscall"
    assert stands(made)


def test_a_thread_that_says_it_is_awake_and_sleeps_is_woken() -> None:
    made = program(forge(f"mov %rdx, %r12; movl $0, 40(%rbx); movq ${KERNEL}, 168(%rdx)", sleeps()))
    made.write(KERNEL, assemble(f"decl {PAGE + 8}; jz 1f; mov ${CODE}, %eax; jmp *%rax; 1: {LEAVE}"))
    made.write(PAGE + 8, (300).to_bytes(4, "little"))
    while not made.run():
        pass
    assert (made.last[0], made.statistics["native_lost"]) == ("syscall", 0)


@pytest.mark.parametrize("selector", [0xE030, 0xE033, 0x10, 0x08, 0x2B, 0, 0x23, 0xE023])
def test_a_forged_code_segment_is_not_loaded(selector: int) -> None:
    made = program(forge(f"movq $0, 144(%rdx); movw ${selector}, 184(%rdx)", sleeps()))
    made.run()
    assert made.last == ("exception", GP, selector & 0xFFFC, 0)
    assert made.registers["cs"] == 0xE033


def test_the_hosts_other_code_segment_is_what_the_guests_table_says() -> None:
    made = program(f"ljmp *{DATA}")
    made.describe(0x23, FLAT[0xE023])
    made.write(DATA, FORGES.to_bytes(4, "little") + (0x23).to_bytes(2, "little"))
    made.write(FORGES, assemble(".code32; mov $5, %ebx; int3"))
    made.run()
    assert made.last == ("interrupt", 3, 0, 0) and made.gpr[RBX] == 5
    assert made.registers["cs"] == 0x23


def test_a_forged_base_of_a_segment_is_canonical() -> None:
    wild = 0x1234567812345678
    made = program(forge(f"movabs ${wild}, %rcx; mov %rcx, 24(%rbx); mov %rcx, 32(%rbx); movq $0, 144(%rdx)", sleeps()))
    made.run()
    assert made.last[0] == "syscall"
    segments = made.registers["segments"]
    assert isinstance(segments, list) and [each["base"] for each in segments] == [0] * 6


@pytest.mark.parametrize("left_for", [signal.SIGSYS, signal.SIGILL, signal.SIGUSR1])
def test_a_forged_place_to_go_on_at_is_the_programs_fault(left_for: int) -> None:
    wild = 0x1234567812345678
    made = program(forge(f"movl ${left_for}, 4(%rbx); movabs ${wild}, %rcx; mov %rcx, 168(%rdx)", sleeps()))
    made.run()
    assert made.last[:3] == ("exception", GP, 0)
    assert works(program(SOUND))


# --- what a forged signal frame can do


WORDS = [
    *(f"r{n}" for n in range(8, 16)),
    "rdi",
    "rsi",
    "rbp",
    "rbx",
    "rdx",
    "rax",
    "rcx",
    "rsp",
    "rip",
    "rflags",
    "segments",
]


def signal_frame(
    stack: int = REPORT + 0x1000, stack_size: int = REPORT_SIZE - 0x1000, mask: int = 0, **registers: int
) -> bytes:
    """As rt_sigreturn takes it."""
    words = {"rsp": DATA + 0x800, "rflags": 0x202, "segments": 0x2B << 48 | 0x33, **registers}
    frame = bytearray(0x400)
    frame[16:24] = stack.to_bytes(8, "little")
    frame[32:40] = stack_size.to_bytes(8, "little")
    for number, name in enumerate(WORDS):
        frame[40 + 8 * number : 48 + 8 * number] = words.get(name, 0).to_bytes(8, "little")
    frame[296:304] = mask.to_bytes(8, "little")
    return bytes(frame)


def sigreturn(made: Program, frame: bytes) -> None:
    """It returns from a signal that there was not."""
    made.write(DATA, frame)
    jump(made, within_stub("mov $15, %eax; syscall; hlt"), {RSP: DATA})


BLOCKED = {
    "computes": f"1: incl {PAGE}; jmp 1b",
    "reports for ever": f"incl {PAGE}; movabs ${{report}}, %rcx; jmp *%rcx",
    "sleeps and does not say so": f"mov (%rbp), %r13d; incl {PAGE}; movabs ${{wait}}, %rcx; jmp *%rcx",
}


def blocks(made: Program, source: str) -> float:
    """Seconds for which it goes on when it is kicked, until it is lost."""
    made.write(PAGE, bytes(4))
    report, wait = (within_stub(f"mov $202, %eax; mov %{word}, %rdi") for word in ("rbx", "rbp"))
    made.write(FORGES, assemble(source.format(report=report, wait=wait)))
    sigreturn(made, signal_frame(mask=(1 << 64) - 1, rip=FORGES, rbx=REPORT, rbp=CONTROL, r12=DATA, r13=0xDEAD))
    begun: list[float] = []

    def kick() -> None:
        begun.append(wait_for(lambda: made.read(PAGE, 4) != bytes(4)))
        made.kick()

    thread = threading.Thread(target=kick)
    thread.start()
    made.run()
    took = time.monotonic() - begun[0]
    thread.join()
    assert made.last == LOST
    return took


@pytest.mark.parametrize("source", BLOCKED.values(), ids=BLOCKED)
def test_a_forged_frame_that_blocks_signals_does_not_keep_a_program_from_being_stopped(source: str) -> None:
    made = program(f"movl $1, {PAGE}; {SOUND}")
    assert works(made)
    assert (0 if "wait" in source else 0.15) < blocks(made, source) < 10
    assert works(made)


def test_a_vcpu_whose_programs_do_not_stop_again_and_again_has_no_stubs_any_more() -> None:
    made = program(f"movl $1, {PAGE}; {SOUND}")
    for _ in range(4):
        assert works(made)
        blocks(made, BLOCKED["computes"])
    moves = made.statistics["native_moves"]
    assert works(made)
    assert made.statistics["native_moves"] == moves == 4


def wait_for(what: Callable[[], bool]) -> float:
    """When it came true."""
    limit = time.monotonic() + 30
    while not what() and time.monotonic() < limit:
        time.sleep(0.001)
    assert what()
    return time.monotonic()


def test_a_signal_on_its_way_is_not_written_to_a_page_that_was_taken_away() -> None:
    stack, size = DATA + 0x4000, 0x4000
    top = stack + size - 0x1000
    touched = "".join(f"movl $1, {page};" for page in range(stack, stack + size, 0x1000))
    made = program(f"""
        {touched} mov {DATA}, %eax
        mov $6, %eax
        syscall
        mov ${DATA}, %rsp
        movabs ${within_stub("mov $15, %eax; syscall; hlt")}, %rcx
        jmp *%rcx
    """)
    made.write(DATA, signal_frame(stack, size, rip=FORGES))
    made.write(FORGES, assemble(f"""
        movabs ${REPORT}, %rbx
        movabs ${CONTROL}, %rbp
        mov 8(%rbx), %rdx
        movq $2, 144(%rdx)          # a system call, after which the kernel goes on
        movq ${KERNEL}, 168(%rdx)
        mov (%rbp), %r13d
        mov %r13d, (%rbx)
        {sleeps()}                  # and it does sleep, but hears signals
    """))  # fmt: skip
    made.write(KERNEL, assemble(f"mov ${top >> 12}, %edi; xor %esi, %esi; mov $3, %eax; syscall; {LEAVE}"))
    assert made.run()
    assert (made.last[0], made.statistics["native_lost"]) == ("syscall", 0)
    before, processes = made.read(top, 0x1000), stubs()
    for process in processes:
        os.kill(process, signal.SIGUSR1)
    wait_for(lambda: made.read(top, 0x1000) != before or not all(map(exists, processes)))
    assert made.read(top, 0x1000) == before


# --- stubs that end


def test_a_stub_that_is_killed_costs_its_process_and_nothing_else() -> None:
    made = program(f"mov $6, %eax; syscall; {SOUND}")
    assert works(made)
    before = stubs()
    spin = assemble("1: jmp 1b")
    made.write(FORGES, spin)
    made.go_to(FORGES, {})

    def kill() -> None:
        for process in before:
            os.kill(process, signal.SIGKILL)

    threading.Timer(0.1, kill).start()
    while not made.run():
        pass
    assert made.last == LOST
    assert works(made)


def test_no_stub_outlives_its_processor() -> None:
    others = stubs()
    made = program(SOUND)
    assert works(made)
    own = stubs() - others
    assert own
    made.end()
    assert not any(map(exists, own))


def test_stubs_are_of_the_session_whose_turn_they_share() -> None:
    others = stubs()
    made = program(SOUND)
    assert works(made)
    mine = stubs() - others
    assert mine and {os.getsid(process) for process in mine} == {os.getsid(0)}
    assert os.getpgrp() not in {os.getpgid(process) for process in mine}


def test_a_stub_that_the_host_does_not_let_run_is_waited_for() -> None:
    others = stubs()
    made = program(f"1: incl {PAGE}; jmp 1b")
    thread = threading.Thread(target=made.run)
    thread.start()
    wait_for(lambda: made.read(PAGE, 4) != bytes(4))
    for process in stubs() - others:
        os.kill(process, signal.SIGSTOP)
    wait_for(lambda: stands(made))
    made.kick()
    thread.join(4)
    assert thread.is_alive()
    for process in stubs() - others:
        os.kill(process, signal.SIGCONT)
    thread.join(30)
    assert (thread.is_alive(), made.statistics["native_lost"]) == (False, 0)


def its_maker(made: Program, others: set[int]) -> int:
    """The process that makes its stubs, which is nobody else's."""
    assert works(made)
    (maker,) = {parent(process) for process in stubs() - others}
    return maker


def test_without_its_maker_a_processor_has_no_stubs_and_works() -> None:
    others = stubs()
    made = program(SOUND)
    maker = its_maker(made, others)
    own = stubs() - others
    os.kill(maker, signal.SIGKILL)
    wait_for(lambda: not any(map(exists, own)))
    made.go_to(CODE, {})
    made.run()
    assert made.last == LOST or made.last[0] == "syscall"
    assert works(made)
    made.end()


def test_where_no_stub_can_be_made_code_is_emulated() -> None:
    others = stubs()
    made = program(SOUND)
    maker = its_maker(made, others)
    resource.prlimit(maker, resource.RLIMIT_AS, (4096, 4096))
    for process in stubs() - others:
        os.kill(process, signal.SIGKILL)
    made.go_to(CODE, {})
    made.run()
    seen = made.statistics["native_moves"]
    assert works(made) and made.statistics["native_moves"] == seen
    made.end()


class NoMaker:
    """As where the one that there was has ended."""

    def tell(self, descriptors: list[int]) -> None:
        assert all(fd > 2 for fd in descriptors)
        raise ConfigError("there is none")


def test_a_processor_that_cannot_be_made_takes_nothing_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_maker", [NoMaker()])
    libc = ctypes.CDLL(None)
    libc.mmap.restype, libc.mmap.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 4]
    low, size, private_anonymous_at_unused = 0x20000, 0x1000, 0x100022
    assert libc.mmap(low, size, 1, private_anonymous_at_unused, -1, 0) == low
    memory = MachineMemory(1 << 20)
    open_files = os.listdir("/proc/self/fd")
    with pytest.raises(ConfigError, match="there is none"):
        engine.NativeEngine(memory)
    assert os.listdir("/proc/self/fd") == open_files
    assert f"{low:08x}-{low + size:08x}" in Path("/proc/self/maps").read_text()
    libc.munmap(ctypes.c_void_p(low), size)


def test_a_thread_that_ran_guest_code_may_run_anywhere_again() -> None:
    before = os.sched_getaffinity(0)
    assert works(program(SOUND))
    assert os.sched_getaffinity(0) == before


def test_a_processor_that_the_host_has_no_more_costs_nobody_his_process(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.sched_getaffinity(0)
    gone = next((cpu for cpu in range(64) if not Path(f"/sys/devices/system/cpu/cpu{cpu}").exists()), None)
    if gone is None:
        pytest.skip("the host has every processor that an engine may choose")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {min(before), gone})
    try:
        made = program(SOUND)
        assert works(made) and made.statistics["native_lost"] == 0
    finally:
        os.sched_setaffinity(0, before)  # as the program left it, it may run where it knew of


def test_predictions_are_forgotten_whichever_thread_of_a_stub_was_there_first() -> None:
    others = stubs()
    made = program(SOUND)
    assert works(made)
    own = Path("/proc/self/status").read_text()
    if "SpeculationIndirectBranch:\tconditional" not in own:
        pytest.skip("the host forgets them always, or never")
    said = [task.read_text() for stub in stubs() - others for task in Path(f"/proc/{stub}/task").glob("*/status")]
    assert len(said) >= 2
    assert all("SpeculationIndirectBranch:\tconditional force disabled" in one for one in said)


def switches(made: Program) -> int:
    """How often this thread slept, for a whole run."""
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    made.go_to(CODE, {})
    while not made.run():
        pass
    assert made.gpr[RBX] == 0
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before


CALLS = f"mov $2000, %ebx; 1: mov $6, %eax; syscall; dec %ebx; jnz 1b; {LEAVE}"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="it takes two of the host's processors")
def test_a_system_call_is_no_switch_of_processes_where_each_has_a_processor() -> None:
    made = program(CALLS)
    wait_for(lambda: switches(made) < 500)


def test_on_one_processor_they_take_turns() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        made = program(CALLS)
        assert switches(made) > 1000
    finally:
        os.sched_setaffinity(0, before)


def test_a_spinning_program_is_stopped_by_a_kick(kicked: list[Program]) -> None:
    made = program("1: inc %rbx; jmp 1b")
    kicked.append(made)
    while made.gpr[RBX] == 0:
        assert not made.run()


def test_who_computes_moves_to_a_stub_though_only_stops_end_his_bursts(kicked: list[Program]) -> None:
    made = Program(assemble("jmp ."), True, engine="native")
    made.set_cr4(CR4_FSGSBASE)
    kicked.append(made)

    def moved() -> bool:
        made.run()
        return made.statistics["native_moves"] == 1

    wait_for(moved)


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


def test_what_the_processor_can_hide_is_known_before_the_walls() -> None:
    host.hides_cpuid.cache_clear()
    engine.reserve(0)
    assert host.hides_cpuid.cache_info().currsize == 1
