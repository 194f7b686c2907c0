"""Several processors with stubs each: what one has natively, the others may take away."""

from __future__ import annotations

import threading
import time

import pytest

from tests.assembler import assemble
from tests.conformance.test_native import CONTROL, CR4_FSGSBASE, REPORT, SOUND, native
from xenia.testing.bare import DATA, Program, Siblings

assert native  # is there for the whole module

OUTSIDE = 1000
FLAG, DONE = DATA, DATA + 0x40
PAGE = DATA + 0x1000
LEAVE = "xor %eax, %eax; syscall"


def siblings(*sources: str, engines: tuple[str, ...] = ("eager", "eager")) -> tuple[Siblings, list[Program]]:
    """A program in user mode for each source, on the engine of that name."""
    codes = [assemble(source) for source in sources]
    first = Program(codes[0], True, engine=engines[0])
    programs = [first]
    for number, code in enumerate(codes[1:], 1):
        programs.append(Program(code, True, beside=first, place=number, engine=engines[number]))
    for one in programs:
        one.set_cr4(CR4_FSGSBASE)
    return Siblings(programs), programs


def begin(programs: list[Program]) -> list[threading.Thread]:
    threads = [threading.Thread(target=program.run) for program in programs]
    for thread in threads:
        thread.start()
    return threads


def end(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


SAYS_IT_WAITS = f"""
    movabs ${REPORT}, %rbx
    movabs ${CONTROL}, %rbp
    movl $1, {PAGE}
    mov $6, %eax
    syscall                     # an exit, from which there is a frame
    mov 8(%rbx), %rdx
    movq ${OUTSIDE}, 144(%rdx)  # which is to say that the processor waits
    movq ${FLAG}, 104(%rdx)
    lea 2f(%rip), %rax
    mov %rax, 168(%rdx)
    mov (%rbp), %eax
    mov %eax, (%rbx)            # "it has left"
1:  incl {PAGE}
    jmp 1b
2:  {LEAVE}
"""


def test_nothing_computes_on_while_its_processor_is_outside() -> None:
    together, programs = siblings(SOUND, SAYS_IT_WAITS)
    threads = begin(programs[1:])
    while together.inside(1) or programs[1].exits < 2:
        time.sleep(0.001)
    first = programs[0].read(PAGE, 4)
    time.sleep(0.05)
    assert programs[0].read(PAGE, 4) == first != b"\1\0\0\0"
    assert programs[1].statistics["native_lost"] >= 1
    programs[0].write(FLAG, b"\1")
    end(threads)


@pytest.mark.parametrize(("place", "times"), [(0x100, 20000), (0x101, 20000)])
def test_no_step_is_lost_between_native_code_and_emulated(place: int, times: int) -> None:
    source = f"mov ${DATA + place}, %edi; mov ${times}, %ebp; 9: lock incl (%rdi); dec %ebp; jnz 9b; {LEAVE}"
    _, programs = siblings(source, source, engines=("eager", "emulated"))
    end(begin(programs))
    assert int.from_bytes(programs[0].read(DATA + place, 4), "little") == 2 * times


def test_two_run_at_the_same_moment() -> None:
    # Each waits for the other's last word at every step, and neither leaves guest code.
    rounds = 100000
    source = f"""
        mov ${{start}}, %eax
    1:  cmp %eax, {PAGE + 64}; jne 1b
        inc %eax
        mov %eax, {PAGE + 64}
        inc %eax
        cmp ${rounds}, %eax
        jb 1b
        {LEAVE}"""
    _, programs = siblings(*(source.format(start=start) for start in (0, 1)))
    end(begin(programs))
    assert int.from_bytes(programs[0].read(PAGE + 64, 4), "little") == rounds
    assert [(one.exits, one.statistics["native_syscalls"], one.statistics["native_lost"]) for one in programs] == [
        (1, 1, 0)
    ] * 2


def test_who_was_away_writes_no_code_unseen() -> None:
    # More frames are translated from meanwhile than a mailbox has room for.  Functions return their first number.
    frames = 40
    functions, result = 0x100000, DATA + 0x100
    each = f"mov ${functions}, %edi; mov ${frames}, %ecx; 9: {{}}; add $4096, %edi; dec %ecx; jnz 9b"
    writer = f"""
        {each.format("movl $1, 1(%rdi)")}
        mov ${FLAG}, %edi; mov ${OUTSIDE}, %eax; syscall
        {each.format("movl $2, 1(%rdi)")}
        movb $1, {DONE}
        {LEAVE}"""
    runner = f"""
        xor %ebx, %ebx; xor %ebp, %ebp
        {each.format("call *%rdi; add %eax, %ebx")}
        movb $1, {FLAG}
    1:  cmpb $0, {DONE}; je 1b
        push %rbx; xor %eax, %eax; cpuid; pop %rbx
        {each.format("call *%rdi; add %eax, %ebp")}
        mov %ebx, {result}; mov %ebp, {result + 4}
        {LEAVE}"""
    together, programs = siblings(writer, runner, engines=("eager", "emulated"))
    for number in range(frames):
        programs[0].write(functions + 4096 * number, b"\xb8\0\0\0\0\xc3")
    threads = begin(programs[:1])
    while together.inside(0) or programs[0].exits < 1:
        time.sleep(0.001)
    threads += begin(programs[1:])
    end(threads)
    assert programs[0].read(result, 8) == frames.to_bytes(4, "little") + (2 * frames).to_bytes(4, "little")
