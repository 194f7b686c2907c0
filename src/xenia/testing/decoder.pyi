"""The instruction decoder, and stores done in software, as tests see them."""

from collections.abc import Callable, Sequence

class DecodeError(ValueError):
    """No such instruction."""

    ...

class NeedMore(ValueError):
    """The bytes end within an instruction."""

    ...

def decode_instruction(code: bytes, mode: int = 64) -> dict[str, int]:
    """Take the instruction at the start of `code` apart; the fields of decode.pxd's Instruction as a dict."""
    ...

def effective_address(code: bytes, gpr: Sequence[int], next: int, mode: int = 64) -> int:
    """Offset of the memory operand of the instruction at the start of `code`, with these general registers."""
    ...

def store(
    code: bytes, gpr: Sequence[int], rip: int, rflags: int, memory: Callable[[int, int], bytes]
) -> tuple[tuple[int, bytes], list[int], int, int] | None:
    """Do the store at the start of `code` in software.  `memory(address, size)` reads memory.

    None if it is no store that is known; else what it writes where (address, bytes), and (gpr, rip, rflags) after it.
    """
    ...

def cpuid(leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
    """(eax, ebx, ecx, edx) of the CPUID policy."""
    ...
