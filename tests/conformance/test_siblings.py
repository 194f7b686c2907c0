"""Several processors over the same memory: atomic instructions, the order of memory, flushes that are complete when
they return, and code that one writes and another runs.

`python -m tests.conformance.test_siblings TRIES` tries the flushes as often as it is told, and tells what one costs.
"""

import struct
import sys
import threading
import time
from collections.abc import Callable
from functools import cache

import pytest

from tests.assembler import assemble
from xenia.testing import bare
from xenia.testing.bare import DATA, Program, Siblings

WORD = DATA  # what all count in
BARRIER = DATA + 0x800  # how many have come to it, all rounds together
SLOTS = 0x100000  # of litmus tests: 256 bytes for each round
PAGE = 4096
LEAVE = "xor %eax, %eax; syscall"


def on_each(test: Callable[..., None]) -> Callable[..., None]:
    """On every engine that has siblings: in user mode where that is native."""
    marked: Callable[..., None] = pytest.mark.needs("siblings")(pytest.mark.usefixtures("engine")(test))
    return marked


def siblings(*sources: str, retries: bool = False) -> tuple[Siblings, list[Program]]:
    """A processor for each source, together on the same memory."""
    codes = [assemble(f"{source}; {LEAVE}") for source in sources]
    user = bare.ENGINE == "eager"  # which runs nothing else natively
    first = Program(codes[0], user)
    programs = [first]
    for number, code in enumerate(codes[1:], 1):
        programs.append(Program(code, user, beside=first, place=number))
    return Siblings(programs, retries=retries), programs


def run(programs: list[Program]) -> None:
    """All of them at once, each to its end."""
    ended: list[bool] = []
    threads = [threading.Thread(target=lambda one=program: ended.append(one.run())) for program in programs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert ended == [True] * len(programs)
    assert [program.last[0] for program in programs] == ["syscall"] * len(programs)


# --- atomic instructions

TIMES = 20000
SUFFIX = {1: "b", 2: "w", 4: "l", 8: "q"}
REGISTER = {1: "cl", 2: "cx", 4: "ecx", 8: "rcx"}
OLD = {1: "al", 2: "ax", 4: "eax", 8: "rax"}

# Each adds one to the word at %rdi; {s} is the suffix of the width, {r} and {a} registers of that width.
COUNTERS = {
    "inc": "lock inc{s} (%rdi)",
    "dec": "lock dec{s} (%rdi); lock add{s} $2, (%rdi)",
    "add": "lock add{s} $1, (%rdi)",
    "sub": "lock sub{s} $-1, (%rdi)",
    "adc": "clc; lock adc{s} $1, (%rdi)",
    "sbb": "stc; lock sbb{s} $-2, (%rdi)",
    "xadd": "mov $1, %ecx; lock xadd{s} %{r}, (%rdi)",
    "cmpxchg": "1: mov (%rdi), %{a}; mov %{a}, %{r}; inc{s} %{r}; lock cmpxchg{s} %{r}, (%rdi); jne 1b",
}
# Where a word may be: aligned, not, on two lines of the host's caches, on two pages.
PLACES = {"aligned": 0x100, "unaligned": 0x101, "two lines": 0x13F, "two pages": 0xFFF}


def looped(body: str, address: int, times: int) -> str:
    return f"mov ${address}, %edi; mov ${times}, %ebp; 9: {body}; dec %ebp; jnz 9b"


@cache
def split_times() -> int:
    """How often a locked instruction goes over the end of a line: less where the host punishes that (split_lock_detect
    of Linux: up to milliseconds each, which is as good at making the two meet)."""
    some = 10
    (program,) = siblings(looped("lock incl (%rdi)", WORD + PLACES["two lines"], some))[1]
    began = time.monotonic()
    run([program])
    each = (time.monotonic() - began) / some
    return max(20, min(TIMES // 20, int(0.2 / each)))


@pytest.mark.parametrize(("width", "place"), [(w, p) for w in SUFFIX for p in PLACES if w > 1 or p == "aligned"])
@pytest.mark.parametrize("name", COUNTERS)
def test_no_step_of_a_locked_instruction_is_lost(name: str, width: int, place: str) -> None:
    times = split_times() if place.startswith("two") else TIMES
    body = COUNTERS[name].format(s=SUFFIX[width], r=REGISTER[width], a=OLD[width])
    address = WORD + PLACES[place]
    _, programs = siblings(*[looped(body, address, times)] * 2)
    run(programs)
    expected = 2 * times
    assert int.from_bytes(programs[0].read(address, width), "little") == expected % (1 << 8 * width)


# Each takes a lock in the word at %rdi, adds one to the word at 128(%rdi) without one, and lets go of it.
LOCKS = {
    "xchg": ("7: mov $1, %eax; xchg %{a}, (%rdi); test %{a}, %{a}; jnz 7b", "movb $0, (%rdi)"),
    "bts": ("7: lock bts{w} $0, (%rdi); jc 7b", "lock btr{w} $0, (%rdi)"),
    "btc": ("7: lock bts{w} $3, (%rdi); jc 7b", "lock btc{w} $3, (%rdi)"),
    "cmpxchg": ("7: xor %eax, %eax; mov $1, %ecx; lock cmpxchg %{r}, (%rdi); jnz 7b", "lock and{s} $0, (%rdi)"),
    "xor": ("7: xor %eax, %eax; mov $1, %ecx; lock cmpxchg %{r}, (%rdi); jnz 7b", "lock xor{s} $1, (%rdi)"),
    "not": ("7: xor %eax, %eax; mov $-1, %rcx; lock cmpxchg %{r}, (%rdi); jnz 7b", "lock not{s} (%rdi)"),
    "neg": (
        "7: xor %eax, %eax; mov $-1, %rcx; lock cmpxchg %{r}, (%rdi); jnz 7b",
        "lock neg{s} (%rdi); lock dec{s} (%rdi)",
    ),
}


@pytest.mark.parametrize("width", [2, 4, 8])
@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_of_two_processors_is_one(name: str, width: int) -> None:
    take, drop = (
        part.format(s=SUFFIX[width], w=SUFFIX[width], r=REGISTER[width], a=OLD[width]) for part in LOCKS[name]
    )
    body = f"{take}; incq 128(%rdi); {drop}"
    _, programs = siblings(*[looped(body, WORD, TIMES // 4)] * 2)
    run(programs)
    assert int.from_bytes(programs[0].read(WORD + 128, 8), "little") == TIMES // 4 * 2


@pytest.mark.parametrize("place", ["aligned", "unaligned", "two pages"])
def test_eight_bytes_are_compared_and_exchanged_at_once(place: str) -> None:
    body = "mov (%rdi), %eax; mov 4(%rdi), %edx; 1: lea 1(%eax), %ebx; lea 2(%edx), %ecx; lock cmpxchg8b (%rdi); jne 1b"
    times = split_times()
    address = WORD + PLACES[place]
    _, programs = siblings(*[looped(body, address, times)] * 2)
    run(programs)
    assert struct.unpack("<II", programs[0].read(address, 8)) == (2 * times, 4 * times)


def test_sixteen_bytes_are_compared_and_exchanged_at_once() -> None:
    body = (
        "mov (%rdi), %rax; mov 8(%rdi), %rdx; 1: lea 1(%rax), %rbx; lea 2(%rdx), %rcx; lock cmpxchg16b (%rdi); jne 1b"
    )
    _, programs = siblings(*[looped(body, WORD, TIMES)] * 2)
    run(programs)
    assert struct.unpack("<QQ", programs[0].read(WORD, 16)) == (2 * TIMES, 4 * TIMES)


@pytest.mark.parametrize("name", ["or and", "bts btr", "xor"])
def test_bits_of_one_word_belong_to_those_who_set_them(name: str) -> None:
    # A processor that finds its own bit not as it left it ends with %rbx set.
    def source(bit: int) -> str:
        on = {"or and": f"lock orl ${1 << bit}, (%rdi)", "bts btr": f"lock btsl ${bit}, (%rdi)"}
        off = {"or and": f"lock andl ${~(1 << bit)}, (%rdi)", "bts btr": f"lock btrl ${bit}, (%rdi)"}
        flip = f"lock xorl ${1 << bit}, (%rdi)"
        body = (
            f"{on.get(name, flip)}; mov (%rdi), %eax; bt ${bit}, %eax; jc 2f; inc %ebx; "
            f"2: {off.get(name, flip)}; mov (%rdi), %eax; bt ${bit}, %eax; jnc 3f; inc %ebx; 3:"
        )
        return "xor %ebx, %ebx; " + looped(body, WORD, TIMES)

    _, programs = siblings(source(3), source(17))
    run(programs)
    assert [program.gpr[3] for program in programs] == [0, 0]


@pytest.mark.parametrize("width", SUFFIX)
def test_an_aligned_store_is_seen_whole(width: int) -> None:
    # One stores all ones and all zeros by turns; the other sees nothing else.
    register, ones = REGISTER[width], (1 << 8 * width) - 1
    writer = looped(f"mov ${ones}, %rcx; mov %{register}, (%rdi); xor %ecx, %ecx; mov %{register}, (%rdi)", WORD, TIMES)
    zero = {1: "movzbl (%rdi), %eax", 2: "movzwl (%rdi), %eax", 4: "mov (%rdi), %eax", 8: "mov (%rdi), %rax"}[width]
    reader = f"xor %ebx, %ebx; mov ${ones}, %rdx; " + looped(
        f"{zero}; test %rax, %rax; jz 2f; cmp %rdx, %rax; je 2f; inc %ebx; 2:", WORD, TIMES
    )
    _, programs = siblings(writer, reader)
    run(programs)
    assert programs[1].gpr[3] == 0


# --- the order of memory

ROUNDS = 250  # where the host has no two processors free each takes milliseconds


def litmus(*bodies: str, rounds: int = ROUNDS) -> set[tuple[int, ...]]:
    """What the processors saw: each leaves up to two values in %rax and %rbx.  x is at (%rdi), y at 64(%rdi), and all
    begin each round at once, as far as they can."""

    def source(number: int, body: str) -> str:
        return f"""
            mov ${SLOTS}, %edi; xor %r14, %r14
        9:  lock incq {BARRIER}
            add ${len(bodies)}, %r14
        8:  cmp %r14, {BARRIER}; jb 8b
            xor %eax, %eax; xor %ebx, %ebx
            {body}
            mov %eax, {128 + 8 * number}(%rdi); mov %ebx, {132 + 8 * number}(%rdi)
            add $256, %rdi
            cmp ${rounds * len(bodies)}, %r14; jb 9b"""

    _, programs = siblings(*[source(number, body) for number, body in enumerate(bodies)])
    run(programs)
    found = set()
    for number in range(rounds):
        values = programs[0].read(SLOTS + 256 * number + 128, 8 * len(bodies))
        found.add(struct.unpack(f"<{2 * len(bodies)}I", values))
    return found


STORE_X, STORE_Y = "movl $1, (%rdi)", "movl $1, 64(%rdi)"
LOAD_X, LOAD_Y = "mov (%rdi), %eax", "mov 64(%rdi), %eax"
BARRIERS = {
    "mfence": "mfence",
    "a locked instruction": "lock addl $0, (%rsp)",
    "an exchange": "xchg %rcx, -8(%rsp)",
    "cpuid": "push %rax; xor %eax, %eax; cpuid; pop %rax; xor %ebx, %ebx",
}


@on_each
@pytest.mark.parametrize("barrier", BARRIERS)
def test_a_barrier_keeps_a_load_behind_the_store_before_it(barrier: str) -> None:
    between = BARRIERS[barrier]
    found = litmus(f"{STORE_X}; {between}; {LOAD_Y}", f"{STORE_Y}; {between}; {LOAD_X}")
    assert (0, 0, 0, 0) not in found


@on_each
def test_without_one_a_load_may_overtake_a_store() -> None:
    found = litmus(f"{STORE_X}; {LOAD_Y}", f"{STORE_Y}; {LOAD_X}")
    assert found <= {(0, 0, 0, 0), (1, 0, 0, 0), (0, 0, 1, 0), (1, 0, 1, 0)}


@on_each
def test_messages_pass_in_order() -> None:
    found = litmus(f"{STORE_X}; {STORE_Y}", "mov 64(%rdi), %eax; mov (%rdi), %ebx")
    assert (0, 0, 1, 0) not in found


@on_each
def test_no_load_sees_a_store_that_follows_it() -> None:
    found = litmus(f"{LOAD_X}; {STORE_Y}", f"{LOAD_Y}; {STORE_X}")
    assert (1, 0, 1, 0) not in found


@on_each
def test_all_see_the_stores_of_two_in_one_order() -> None:
    reads = "mov {}(%rdi), %eax; mov {}(%rdi), %ebx"
    found = litmus(STORE_X, STORE_Y, reads.format(0, 64), reads.format(64, 0), rounds=60)
    assert not any(one[4:] == (1, 0, 1, 0) for one in found)


# --- flushes

STORES = f"mov ${DATA}, %edi; 1: incq (%rdi); testb $1, {DATA + PAGE}; jz 1b"
TRIES = {"emulated": 3000, "eager": 300}


def shot(by_frame: bool, tries: int, storers: int = 1) -> int:
    """How many stores landed behind a flush."""
    together, programs = siblings(*[STORES] * storers, STORES, retries=True)
    threads = [threading.Thread(target=program.run) for program in programs]
    for thread in threads:
        thread.start()
    try:
        return together.protect(DATA // PAGE, tries, by_frame)
    finally:
        programs[0].write(DATA + PAGE, b"\1")
        for thread in threads:
            thread.join(60)


@on_each
@pytest.mark.parametrize("by_frame", [False, True])
def test_no_store_lands_behind_a_flush(by_frame: bool) -> None:
    assert shot(by_frame, TRIES[bare.ENGINE]) == 0


@on_each
def test_every_store_is_told_by_the_dirty_bit() -> None:
    together, programs = siblings(STORES, STORES)
    threads = [threading.Thread(target=program.run) for program in programs]
    for thread in threads:
        thread.start()
    try:
        assert together.clean(DATA // PAGE, TRIES[bare.ENGINE]) == 0
    finally:
        programs[0].write(DATA + PAGE, b"\1")
        for thread in threads:
            thread.join(60)


# --- code

AT = 0x7F000
RETURN = {number: bytes([0xB8, number, 0, 0, 0, 0xC3]) for number in (1, 2)}  # mov $number, %eax; ret


@on_each
def test_code_that_another_processor_writes_is_new_after_a_serialising_instruction() -> None:
    # The writer makes the function return the number of the round, and then says so; the reader calls it then.
    rounds = 200
    writer = f"""
        mov $1, %ebp
    9:  mov %ebp, {AT + 1}
        mov %ebp, {DATA}
    1:  cmp %ebp, {DATA + 64}; jne 1b
        inc %ebp; cmp ${rounds}, %ebp; jbe 9b"""
    reader = f"""
        mov $1, %ebp; xor %r12d, %r12d
    9:  cmp %ebp, {DATA}; jne 9b
        xor %eax, %eax; cpuid
        mov ${AT}, %ecx; call *%rcx
        cmp %ebp, %eax; je 2f; inc %r12d
    2:  mov %ebp, {DATA + 64}
        inc %ebp; cmp ${rounds}, %ebp; jbe 9b"""
    _, programs = siblings(writer, reader)
    programs[0].write(AT, RETURN[1])
    run(programs)
    assert programs[1].gpr[12] == 0


@on_each
def test_code_that_two_write_by_turns_is_that_of_the_last() -> None:
    # Both write the number of the round into the function and call it, one after the other.
    rounds = 100

    def source(number: int) -> str:
        return f"""
            mov ${number}, %ebp; xor %r12d, %r12d
        9:  cmp %ebp, {DATA}; jne 9b
            xor %eax, %eax; cpuid
            mov ${AT}, %ecx; call *%rcx
            cmp %ebp, %eax; je 2f; inc %r12d
        2:  lea 1(%ebp), %edx; mov %edx, {AT + 1}
            call *%rcx
            cmp %edx, %eax; je 3f; inc %r12d
        3:  mov %edx, {DATA}
            add $2, %ebp; cmp ${rounds}, %ebp; jb 9b"""

    _, programs = siblings(source(0), source(1))
    programs[0].write(AT, b"\xb8\0\0\0\0\xc3")
    run(programs)
    assert [program.gpr[12] for program in programs] == [0, 0]


@on_each
def test_code_that_is_written_from_outside_is_forgotten_by_all() -> None:
    source = f"1: mov ${AT}, %ecx; call *%rcx; cmp $1, %eax; je 1b"
    together, programs = siblings(source, source)
    programs[0].write(AT, RETURN[1])
    threads = [threading.Thread(target=program.run) for program in programs]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    programs[0].write(AT, RETURN[2])
    together.forget_code(AT, 6)
    for thread in threads:
        thread.join(60)
    assert [program.exits for program in programs] == [1, 1]


@on_each
def test_a_processor_that_only_jumps_forward_and_back_is_flushed_while_it_runs() -> None:
    together, programs = siblings(*[f"movb $1, {DATA + at}; 1: testb $1, {DATA}; jz 1b" for at in (64, 128)])
    threads = [threading.Thread(target=program.run) for program in programs]
    for thread in threads:
        thread.start()
    while programs[0].read(DATA + 64, 1) != b"\1" or programs[0].read(DATA + 128, 1) != b"\1":
        time.sleep(0)  # until both run
    before = [program.statistics["flush_all"] for program in programs]
    for _ in range(50):
        together.flush_all()
    programs[0].write(DATA, b"\1")
    for thread in threads:
        thread.join(60)
    assert [program.statistics["flush_all"] for program in programs] == [count + 50 for count in before]


@on_each
def test_one_that_is_not_running_does_it_before_it_runs() -> None:
    together, programs = siblings("nop", "nop")
    before = programs[1].statistics["flush_all"]
    for page in range(100):  # more than a mailbox has room for
        together.flush(page)
    assert programs[1].statistics["flush_all"] == before
    run(programs)
    assert programs[1].statistics["flush_all"] == before + 1


if __name__ == "__main__":
    tries = int(sys.argv[1])
    for by_frame in (False, True):
        began = time.monotonic()
        print(
            "stores behind a flush:",
            shot(by_frame, tries),
            f"of {tries}; {(time.monotonic() - began) / tries * 1e6:.1f} us each",
        )
