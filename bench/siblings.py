"""What several processors over the same memory cost and bring: bare engines, no guest.

python -m bench.siblings

Of each figure the best of a few turns.  Two processors need two of the host's to themselves.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tests.assembler import assemble
from xenia.testing.bare import DATA, Program, Siblings

TURNS = 3
PAGE = 4096
COMPUTE = """
    mov $3000000, %ebp
1:  lea 3(%rax,%rax,4), %rax; mov %rax, %rcx; and $0xff8, %ecx
    add %rbp, (%rdi,%rcx); call 2f; dec %ebp; jnz 1b; jmp 3f
2:  xor %rax, %rdx; ret
3:"""
LOCKED = "mov $3000000, %ebp; 1: lock addq $1, (%rdi); dec %ebp; jnz 1b"
STORING = f"1: incq (%rdi); testb $1, {DATA + 2 * PAGE}; jz 1b"


def made(source: str, count: int, *, shared: bool) -> tuple[list[Program], Siblings | None]:
    """So many programs, as processors of one domain or each for itself."""
    codes = [assemble(f"mov ${DATA + PAGE * n}, %edi; {source}; xor %eax, %eax; syscall") for n in range(count)]
    first = Program(codes[0])
    beside = first if shared else None
    programs = [first, *(Program(code, beside=beside, place=n) for n, code in enumerate(codes[1:], 1))]
    return programs, Siblings(programs) if shared else None


def seconds(programs: list[Program]) -> float:
    """Until all have ended, each on a thread."""
    threads = [threading.Thread(target=program.run) for program in programs]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def best(measure: Callable[[], float]) -> float:
    return min(measure() for _ in range(TURNS))


def timed(source: str, running: int, *, shared: bool) -> float:
    """Seconds that so many of two programs take."""
    return best(lambda: seconds(made(source, 2, shared=shared)[0][:running]))


def flushes(*, running: bool, tries: int = 3000) -> float:
    """us that a flush of one page takes on two processors."""
    programs, together = made(STORING, 2, shared=True)
    assert together is not None
    threads = [threading.Thread(target=program.run) for program in programs[:1]]
    for thread in threads if running else []:
        thread.start()
    while running and programs[0].read(DATA, 8) == bytes(8):
        time.sleep(0)
    began = time.perf_counter()
    for _ in range(tries):
        together.flush(DATA // PAGE)  # two, for it is mapped twice
    took = (time.perf_counter() - began) / tries / 2
    programs[0].write(DATA + 2 * PAGE, b"\1")
    for thread in threads if running else []:
        thread.join()
    return took * 1e6


def main() -> None:
    for name, source in {"compute": COMPUTE, "locked instructions": LOCKED}.items():
        alone, one, two = (timed(source, *how[:1], shared=how[1]) for how in ((1, False), (1, True), (2, True)))
        print(
            f"{name}: one of several takes {one / alone:.3f} of one alone; two do {2 * one / two:.2f} of what one does"
        )
    print(f"a flush of a page: {best(lambda: flushes(running=True)):.2f} us where the other one runs, ", end="")
    print(f"{best(lambda: flushes(running=False)):.2f} us where it does not")


if __name__ == "__main__":
    main()
