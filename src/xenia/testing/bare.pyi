"""Bare machine code on an engine: no domain, no hypervisor, identity page tables.  For the engines' conformance suite.

The address space, 16 MB of machine memory at its own addresses: everything present and writable, but

    READ_ONLY        one page that is read-only
    SUPERVISOR       one page without the user bit
    NO_EXECUTE       one page that may not be executed
    GDT              its 64 KB of descriptors, with the ABI's flat ones
    CODE, STACK      where the program is and the top of its stack

and all of it once more in the upper half, from UPPER on, by the same page tables.

`syscall` is the program's way out: eax says what it wants, see `Program.run`.
"""

from typing import Any

CODE: int
STACK: int
NEXT: int
READ_ONLY: int
SUPERVISOR: int
NO_EXECUTE: int
DATA: int
GDT: int
SIZE: int
UPPER: int
FLAT: dict[Any, Any]
ROOT: int
TABLE: int
ENGINE: str
DESTINATION: str
CR4: int

class Program:
    """Machine code, loaded at CODE of a fresh machine, on an engine of its own.

    upper     it starts at its address in the upper half, with its stack there too
    beside    the memory is that program's, and what is at CODE and STACK there is NEXT bytes further on here, times
              `place`
    engine    the name of what runs it; by default `ENGINE`
    """
    @property
    def engine_name(self) -> str: ...
    def __init__(
        self,
        code: bytes,
        user: bool = False,
        beside: Program | None = None,
        upper: bool = False,
        engine: str | None = None,
        place: int = 1,
    ) -> None: ...
    def run(self) -> bool:
        """Run until the program leaves (True) or is kicked (False).

        The program leaves with any exception, and with syscall eax=0; other calls go on: 1 to user mode, 2 to kernel
        mode, 3 entry edi of the page table becomes rsi, 4 the same without a flush, 5 byte esi is written to address
        rdi from outside, 6 nothing, 7 with edi as flags, 8 with the page tables of frame edi, 9 the same as user mode's
        own, 10 after all registers were pulled and pushed again, 1000 when the byte at rdi is not 0.
        """
        ...
    def kick(self) -> None:
        """Stop the program at the next translated block; from any thread."""
        ...
    def end(self) -> None:
        """It never runs again: what a domain's end asks of its engine."""
        ...
    def move(self, engine: str | None = None) -> None:
        """Go on on another engine, just made, that one or `DESTINATION`: it gets the old one's registers alone."""
        ...
    def read(self, address: int, length: int) -> bytes:
        """Machine memory."""
        ...
    def write(self, address: int, data: bytes) -> None:
        """Machine memory, before the program runs."""
        ...
    def forget(self, address: int, length: int) -> None:
        """What was known of the code in these bytes, which were written from outside; of length 0, of all."""
        ...
    def lend(self, address: int) -> None:
        """Somebody else may write to the frame there, as mm/ tells it; from any thread."""
        ...
    def take_back(self, address: int) -> None:
        """It may no longer."""
        ...
    def type_table(self, address: int) -> None:
        """The frame there becomes a page table."""
        ...
    def describe(self, selector: int, descriptor: int) -> None:
        """That GDT entry."""
        ...
    def set_cr4(self, value: int) -> None:
        """As the guest wants it."""
        ...
    def set_debugreg(self, n: int, value: int) -> None:
        """dr0 to dr3, dr6 or dr7."""
        ...
    def set_ts(self, on: bool) -> None:
        """CR0.TS."""
        ...
    def set_ldt(self, address: int, limit: int) -> None:
        """Where the local descriptor table is."""
        ...
    def set_tsc_offset(self, ticks: int) -> None:
        """How far the program's time-stamp counter is ahead of the host's."""
        ...
    def stale_translations(self) -> list[tuple[int, int, str, bool]]:
        """See Engine.stale_translations."""
        ...
    @property
    def statistics(self) -> dict[str, int]:
        """See Engine.statistics."""
        ...
    @property
    def gpr(self) -> list[int]:
        """rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 to r15."""
        ...
    @property
    def rip(self) -> int:
        """Where it stands."""
        ...
    @property
    def rflags(self) -> int:
        """Its flags."""
        ...
    def go_to(self, rip: int, gpr: dict[int, int], user: bool = True) -> None:
        """It goes on there, in that mode, with these general registers, by number, and the others as they are."""
        ...
    def set_rflags(self, value: int) -> None:
        """As the core would change them at an exit."""
        ...
    @property
    def registers(self) -> dict[str, object]:
        """All of them, as the engine gives them: see Context."""
        ...
    @property
    def kernel(self) -> bool:
        """Its mode."""
        ...
    @property
    def exits(self) -> int:
        """How often it left guest code."""
        ...
    @property
    def last(self) -> tuple[str, int, int, int]:
        """The last exit: what it was, vector, error code, address."""
        ...

class Siblings:
    """Programs in the same memory, made with `beside`, as the processors of one domain; before any of them runs.

    retries    page faults are tried again
    """
    def __init__(self, programs: list[Program], retries: bool = False) -> None: ...
    def flush(self, page: int) -> None:
        """All of them drop their translations of that page, and have when this returns."""
        ...
    def inside(self, number: int) -> bool:
        """Is that one?  See cpu/processor."""
        ...
    def flush_all(self) -> None:
        """All translations."""
        ...
    def forget_code(self, address: int, length: int) -> None:
        """Code that was written there from outside."""
        ...
    def protect(self, page: int, times: int, by_frame: bool = False) -> int:
        """Take away the right to write to that page, flush, look whether its first word still changes, and give the
        right back; so many times, while they run.  How often it changed."""
        ...
    def clean(self, page: int, times: int) -> int:
        """Take the accessed and dirty bits from that page's entry and flush, so many times, while they run.  How often
        its first word changed from one flush to the next, and no dirty bit tells of it."""
        ...
