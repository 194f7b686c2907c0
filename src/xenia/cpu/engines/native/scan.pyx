"""What is looked for in a page before it is executable, for tests: see scan.h."""

from libc.stdint cimport uint8_t

cdef extern from "scan.h":
    ctypedef struct Instruction:
        int length
    enum:
        PAGE_CLEAN, PAGE_TAINTED, PAGE_PATCHABLE
    Instruction instruction_at(const uint8_t *code, int room) noexcept nogil
    int page_look(const uint8_t *page, int length) noexcept nogil
    void page_patch(uint8_t *page, int length) noexcept nogil


def look(const uint8_t[::1] page) -> str:
    """Whether CPUID may be executed in this page: clean, tainted or patchable."""
    return {PAGE_CLEAN: "clean", PAGE_TAINTED: "tainted"}.get(page_look(&page[0], <int>page.shape[0]), "patchable")


def patched(page: bytes) -> bytes:
    """Of a patchable one what is executed in its place."""
    copy = bytearray(page)
    cdef uint8_t[::1] view = copy
    page_patch(&view[0], <int>view.shape[0])
    return bytes(copy)


def lengths(const uint8_t[::1] code) -> list[int]:
    """Of the instructions of 64-bit code, one after the other; 0: there is none at that byte, and the next is tried."""
    cdef Py_ssize_t at = 0
    cdef int length
    found = []
    while at < code.shape[0]:
        length = instruction_at(&code[at], <int>min(code.shape[0] - at, 16)).length
        found.append(length)
        at += length or 1
    return found
