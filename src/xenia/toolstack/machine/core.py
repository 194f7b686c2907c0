"""A domain's core in a file: sections with pages and their numbers, as Xen's tools write it (Xen's
docs/misc/dump-core-format), or a vmcore.  Pages of zeros are holes in it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from struct import Struct
from typing import Final

from xenia.errors import ConfigError
from xenia.hypervisor.domain import DomainHandle
from xenia.hypervisor.dump import BATCH, EMPTY, GONE, NOTE, copy_frames, own_frames, shared_info, vcpu_context
from xenia.toolstack.config.core import CoreFormat

_PAGE: Final = 4096
_EHDR: Final = Struct("<16sHHIQQQIHHHHHH")
_PHDR: Final = Struct("<IIQQQQQQ")
_SHDR: Final = Struct("<IIQQQQIIQQ")
_IDENT: Final = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian, System V
_ET_CORE, _EM_X86_64, _EV_CURRENT = 4, 62, 1
_SHT_PROGBITS, _SHT_STRTAB, _SHT_NOTE = 1, 3, 7
_PT_LOAD, _PT_NOTE, _NT_PRSTATUS = 1, 4, 1
_GAP: Final = 512  # frames: what is shorter between two segments belongs to one, as zeros
_MOST_SEGMENTS: Final = 0xFFFE

_MAGIC: Final = 0xF00FEBED  # XC_CORE_MAGIC: paravirtualised
# public/elfnote.h: XEN_ELFNOTE_DUMPCORE_*
_DUMPCORE_NONE, _DUMPCORE_HEADER, _DUMPCORE_XEN_VERSION, _DUMPCORE_FORMAT_VERSION = range(0x2000000, 0x2000004)
_FORMAT_VERSION: Final = Struct("<Q").pack(1)  # 0.1
# What xen_version says (hypercalls/version.pyx), each in the field of its hypercall.
_XEN_VERSION: Final = Struct("<QQ16s64s16s32s32s1024s64sQQ").pack(
    4, 17, b"-xenia", b"Cython", b"xenia", b"xenia", b"unknown", b"xen-3.0-x86_64 ", b"unavailable", 0xFFFF800000000000,
    _PAGE,
)  # fmt: skip

# struct vcpu_guest_context: the fields that a vmcore has as well
_CONTEXT_SIZE: Final = 5168
_CONTEXT_REGS: Final = Struct("<512x8x15Q8xQH6xQQH6xH6xH6xH6xH6x")
_CONTEXT_BASES: Final = Struct("<QQQ")  # fs, the kernel's gs, the user's: its end
_FLAGS: Final = Struct("<512xQ")
_IN_KERNEL: Final = 4
_PRSTATUS: Final = Struct("<32xi76x27Qi4x")  # linux/elfcore.h: pr_pid, pr_reg, pr_fpvalid


@dataclass
class _Memory:
    """A domain's frames, as they are brought out."""

    handle: DomainHandle
    translated: bool

    def __post_init__(self) -> None:
        self.pfns, self.mfns = own_frames(self.handle)
        self.vmcoreinfo = b""

    def pages(self) -> Iterator[tuple[int, memoryview | None]]:
        """Each that is there still: its index, and what is in it where that is not zeros, until the next is taken."""
        buffer = bytearray(BATCH * _PAGE)
        view = memoryview(buffer)
        for first in range(0, len(self.pfns), BATCH):
            kinds = copy_frames(self.handle, self.pfns, self.mfns, first, buffer, self.translated)
            for i, kind in enumerate(kinds):
                if kind != GONE:
                    page = view[i * _PAGE : (i + 1) * _PAGE]
                    if kind == NOTE and not self.vmcoreinfo:
                        self.vmcoreinfo = self._note(page, first + i)
                    yield first + i, None if kind == EMPTY else page

    def _note(self, page: memoryview, index: int) -> bytes:
        """A note that begins with that page; it may go on in the next."""
        size = int.from_bytes(page[4:8], "little")
        data = bytes(page)
        if size + 24 > _PAGE and index + 1 < len(self.pfns) and self.pfns[index + 1] == self.pfns[index] + 1:
            more = bytearray(BATCH * _PAGE)
            copy_frames(self.handle, self.pfns, self.mfns, index + 1, more, False)
            data += more[:_PAGE]
        return data[24 : 24 + min(size, _PAGE)].rstrip(b"\0")


def vmcoreinfo(handle: DomainHandle) -> bytes:
    """What Linux says there about itself, lines of NAME=VALUE; nothing where no page of it has such a note."""
    memory = _Memory(handle, translated=False)
    for _ in memory.pages():
        if memory.vmcoreinfo:
            break
    return memory.vmcoreinfo


def dump(
    handle: DomainHandle, descriptor: int, form: CoreFormat, still: Callable[[], AbstractContextManager[object]],
    *, live: bool = False,
) -> None:  # fmt: skip
    """Write the domain's core into a file that is open, from its beginning.

    still   lets none of the domain's vcpus run while what it returns is entered
    live    they stand still for their registers only: pages are then from different moments

    ConfigError where it cannot be written, is no file, or the domain is destroyed meanwhile.
    """
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ConfigError("a core is dumped into a file, which has room for holes")
        os.ftruncate(descriptor, 0)
        with still() if not live else nullcontext():
            with still():
                contexts = [vcpu_context(handle, number) for number in range(handle.max_vcpus)]
                shared = shared_info(handle)
            memory = _Memory(handle, translated=form is CoreFormat.ELF)
            if not memory.pfns or not shared:
                raise ConfigError("the domain is destroyed: it has no memory that could be dumped")
            if form is CoreFormat.XEN:
                _write_xen(memory, descriptor, contexts, shared)
            else:
                _write_elf(memory, descriptor, contexts)
        if not shared_info(handle):
            raise ConfigError("the domain was destroyed while it was dumped")
    except OSError as error:
        raise ConfigError(f"cannot write the core: {error.strerror or error}") from None


class _Pages:
    """Writes pages to ascending places, neighbours at once."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._at = 0
        self._run = bytearray()

    def put(self, offset: int, page: memoryview) -> None:
        """One page, to that place."""
        if offset != self._at + len(self._run) or len(self._run) >= BATCH * _PAGE:
            self.flush()
            self._at = offset
        self._run += page

    def flush(self) -> None:
        """Write what is left."""
        _write(self._descriptor, self._at, self._run)
        self._at += len(self._run)
        self._run.clear()


def _write(descriptor: int, offset: int, data: bytes | bytearray) -> None:
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            done += os.pwrite(descriptor, view[done:], offset + done)


def _note(name: bytes, kind: int, data: bytes) -> bytes:
    return Struct("<III").pack(len(name) + 1, len(data), kind) + _padded(name + b"\0") + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def _round(size: int) -> int:
    return (size + _PAGE - 1) // _PAGE * _PAGE


# --- xen


def _write_xen(memory: _Memory, descriptor: int, contexts: Iterable[bytes], shared: bytes) -> None:
    prstatus = b"".join(contexts)
    names = (b"", b".shstrtab", b".note.Xen", b".xen_prstatus", b".xen_shared_info", b".xen_pages", b".xen_p2m")
    table = b"\0".join(names) + b"\0"
    size_of_notes = len(_xen_notes(0, 0))
    sizes = (len(table), size_of_notes, len(prstatus), len(shared))
    at = [_EHDR.size + len(names) * _SHDR.size]
    for size in sizes:
        at.append((at[-1] + size + 7) // 8 * 8)
    pages_at = _round(at[-1])
    kept = bytearray()
    pages = _Pages(descriptor)
    for index, page in memory.pages():
        if page is not None:
            pages.put(pages_at + len(kept) // 16 * _PAGE, page)
        kept += Struct("<QQ").pack(memory.pfns[index], memory.mfns[index])
    pages.flush()
    nr_pages = len(kept) // 16
    p2m_at = pages_at + nr_pages * _PAGE
    _write(descriptor, p2m_at, kept)
    sections = (
        (_SHT_STRTAB, at[0], sizes[0], 1, 0),
        (_SHT_NOTE, at[1], sizes[1], 4, 0),
        (_SHT_PROGBITS, at[2], sizes[2], 8, _CONTEXT_SIZE),
        (_SHT_PROGBITS, at[3], sizes[3], 8, _PAGE),
        (_SHT_PROGBITS, pages_at, nr_pages * _PAGE, _PAGE, _PAGE),
        (_SHT_PROGBITS, p2m_at, len(kept), 8, 16),
    )
    head = _elf_header(phnum=0, shnum=len(names)) + bytes(_SHDR.size)
    for name, (kind, offset, size, align, entry) in zip(names[1:], sections, strict=True):
        head += _SHDR.pack(table.index(name), kind, 0, 0, offset, size, 0, 0, align, entry)
    notes = _xen_notes(len(prstatus) // _CONTEXT_SIZE, nr_pages)
    for offset, data in zip((0, *at), (head, table, notes, prstatus, shared), strict=False):
        _write(descriptor, offset, data)


def _xen_notes(nr_vcpus: int, nr_pages: int) -> bytes:
    return (
        _note(b"Xen", _DUMPCORE_NONE, b"")
        + _note(b"Xen", _DUMPCORE_HEADER, Struct("<QQQQ").pack(_MAGIC, nr_vcpus, nr_pages, _PAGE))
        + _note(b"Xen", _DUMPCORE_XEN_VERSION, _XEN_VERSION)
        + _note(b"Xen", _DUMPCORE_FORMAT_VERSION, _FORMAT_VERSION)
    )


def _elf_header(*, phnum: int, shnum: int) -> bytes:
    return _EHDR.pack(
        _IDENT, _ET_CORE, _EM_X86_64, _EV_CURRENT, 0, _EHDR.size if phnum else 0, _EHDR.size if shnum else 0, 0,
        _EHDR.size, _PHDR.size, phnum, _SHDR.size, shnum, 1 if shnum else 0,
    )  # fmt: skip


# --- elf


def _segments(pfns: Iterable[int]) -> list[tuple[int, int]]:
    """The first and the last number of each."""
    numbers = list(pfns)
    ends = [number for number, following in pairwise(numbers) if following - number > _GAP]
    starts = [following for number, following in pairwise(numbers) if following - number > _GAP]
    return list(zip([numbers[0], *starts], [*ends, numbers[-1]], strict=True))


def _write_elf(memory: _Memory, descriptor: int, contexts: Iterable[bytes]) -> None:
    segments = _segments(memory.pfns)
    if len(segments) > _MOST_SEGMENTS:
        raise ConfigError("its memory is in too many pieces for this kind of file: --format xen has room for it")
    at = pages_at = _round(_EHDR.size + (1 + len(segments)) * _PHDR.size)
    loads = []
    for first, last in segments:
        size = (last - first + 1) * _PAGE
        loads.append(_PHDR.pack(_PT_LOAD, 7, at, 0, first * _PAGE, size, size, _PAGE))
        at += size
    pages = _Pages(descriptor)
    place = iter(segments)
    first, last = next(place)
    offset = pages_at
    for index, page in memory.pages():
        pfn = memory.pfns[index]
        while pfn > last:
            offset += (last - first + 1) * _PAGE
            first, last = next(place)
        if page is not None:
            pages.put(offset + (pfn - first) * _PAGE, page)
    pages.flush()
    notes = b"".join(_note(b"CORE", _NT_PRSTATUS, _prstatus(number, it)) for number, it in enumerate(contexts))
    if memory.vmcoreinfo:
        notes += _note(b"VMCOREINFO", 0, memory.vmcoreinfo)
    _write(descriptor, at, notes)
    head = _elf_header(phnum=1 + len(loads), shnum=0)
    head += _PHDR.pack(_PT_NOTE, 0, at, 0, 0, len(notes), len(notes), 4)
    _write(descriptor, 0, head + b"".join(loads))


def _prstatus(number: int, context: bytes) -> bytes:
    *general, rip, cs, rflags, rsp, ss, es, ds, fs, gs = _CONTEXT_REGS.unpack_from(context)
    fs_base, gs_kernel, gs_user = _CONTEXT_BASES.unpack(context[-_CONTEXT_BASES.size :])
    gs_base = gs_kernel if _FLAGS.unpack_from(context)[0] & _IN_KERNEL else gs_user
    return _PRSTATUS.pack(
        number, *general, (1 << 64) - 1, rip, cs, rflags, rsp, ss, fs_base, gs_base, ds, es, fs, gs, 0
    )
