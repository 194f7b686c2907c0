"""What is looked for in a page before it is executable, for tests: see scan.h."""

from typing_extensions import Buffer

def look(page: Buffer) -> str:
    """Whether CPUID may be executed in this page: clean, tainted or patchable."""
    ...

def patched(page: bytes) -> bytes:
    """Of a patchable one what is executed in its place."""
    ...

def lengths(code: Buffer) -> list[int]:
    """Of the instructions of 64-bit code, one after the other; 0: there is none at that byte, and the next is tried."""
    ...
