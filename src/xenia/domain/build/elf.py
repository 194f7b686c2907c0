"""A 64-bit ELF kernel image: what to load where, and whether it can run as a PV guest.

A PV kernel is loaded into one virtual region that starts at its VIRT_BASE, and the region maps the guest's first page
frames one to one.  A segment's place in it is its p_paddr less PADDR_OFFSET (not its p_vaddr, which for Linux's per-cpu
data is 0).
"""

from dataclasses import dataclass
from struct import Struct
from typing import Final

from xenia.abi.elfnote import LEGACY_SECTION
from xenia.domain.build.notes import KernelNotes, parse_legacy_section, parse_note_segments
from xenia.domain.build.other import describe_32bit, describe_silent
from xenia.errors import ConfigError

_EHDR: Final = Struct("<4sBBBBB7x HHIQQQIHHHHHH")
_PHDR: Final = Struct("<IIQQQQQQ")
_SHDR: Final = Struct("<IIQQQQIIQQ")

_CLASS64, _LITTLE_ENDIAN, _MACHINE_386, _MACHINE_X86_64 = 2, 1, 3, 62
_PT_LOAD, _PT_NOTE, _SHT_NOTE, _SHT_NOBITS = 1, 4, 7, 8

PAGE_SIZE: Final = 4096
ADDRESS_LIMIT: Final = 1 << 64


@dataclass(frozen=True)
class Segment:
    """A loadable segment: `data` goes to `offset` bytes from the start of the region; up to `size` follow as zeros."""

    offset: int
    size: int
    data: memoryview


@dataclass(frozen=True)
class Section:
    """A section with its bytes (empty if it occupies none in the file)."""

    name: str
    kind: int
    data: memoryview


@dataclass(frozen=True)
class ElfKernel:
    """A kernel image resolved for loading, by the rules of public/elfnote.h.

    virt_base         virtual address of the region; pfn 0 of the guest is mapped there
    start, end        virtual addresses of the loaded image
    entry             where to start
    hypercall_page    virtual address to fill with the hypercall stubs, None if the kernel wants none
    """

    notes: KernelNotes
    segments: tuple[Segment, ...]
    virt_base: int
    start: int
    end: int
    entry: int
    hypercall_page: int | None


class ElfFile:
    """The headers of an ELF64 file; ConfigError if it is not one, or if any header points outside of it."""

    def __init__(self, data: bytes | memoryview, name: str) -> None:
        self.name = name
        self.view = memoryview(data).cast("B")
        if len(self.view) < _EHDR.size or bytes(self.view[:4]) != b"\x7fELF":
            raise ConfigError(f"{name}: not an ELF file")
        self.is_64bit = self.view[4] == _CLASS64
        (self.machine,) = Struct("<H").unpack_from(self.view, 18)
        if not self.is_64bit or self.view[5] != _LITTLE_ENDIAN:
            raise ConfigError(f"{name}: not a 64-bit little-endian ELF file")
        fields = _EHDR.unpack_from(self.view)
        self.entry: int = fields[9]
        phoff, shoff = fields[10], fields[11]
        phentsize, phnum, shentsize, shnum, shstrndx = fields[14:19]
        if (phnum and phentsize != _PHDR.size) or (shnum and shentsize != _SHDR.size):
            raise ConfigError(f"{name}: damaged ELF header (table entries of an unknown size)")
        # (type, flags, offset, vaddr, paddr, filesz, memsz, align)
        self.program_headers = self._table(_PHDR, phoff, phnum, "program headers")
        # (name, type, flags, addr, offset, size, link, info, addralign, entsize)
        self.section_headers = self._table(_SHDR, shoff, shnum, "section headers")
        self._shstrndx: int = shstrndx

    def _table(self, entry: Struct, offset: int, count: int, what: str) -> list[tuple[int, ...]]:
        if count and offset + count * entry.size > len(self.view):
            raise ConfigError(f"{self.name}: truncated ELF file (its {what} lie outside)")
        return [entry.unpack_from(self.view, offset + i * entry.size) for i in range(count)]

    def bytes_at(self, offset: int, size: int, what: str) -> memoryview:
        """`size` bytes of the file at `offset`, all inside it."""
        if offset + size > len(self.view):
            raise ConfigError(f"{self.name}: truncated ELF file ({what} lies outside)")
        return self.view[offset : offset + size]

    def sections(self) -> list[Section]:
        """Every section with its name."""
        if self._shstrndx >= len(self.section_headers):
            return []
        _, _, _, _, offset, size, *_ = self.section_headers[self._shstrndx]
        names = bytes(self.bytes_at(offset, size, "the section name table"))
        result = []
        for header in self.section_headers:
            title, kind, _, _, offset, size, *_ = header
            end = names.find(b"\0", title)
            data = self.view[:0] if kind in (0, _SHT_NOBITS) else self.bytes_at(offset, size, "a section")
            result.append(Section(names[title:end].decode("ascii", "replace"), kind, data))
        return result


def read_notes(elf: ElfFile) -> KernelNotes | None:
    """The kernel's words to Xen: from note segments, else note sections, else a __xen_guest section; None if silent."""
    segments = [elf.bytes_at(h[2], h[5], "a note segment") for h in elf.program_headers if h[0] == _PT_NOTE]
    notes = parse_note_segments(segments, elf.name)
    if notes is not None:
        return notes
    sections = elf.sections()
    notes = parse_note_segments([section.data for section in sections if section.kind == _SHT_NOTE], elf.name)
    if notes is not None:
        return notes
    for section in sections:
        if section.name == LEGACY_SECTION:
            return parse_legacy_section(section.data, elf.name)
    return None


def why_not_pv(data: bytes | memoryview, name: str) -> str | None:
    """None if the ELF image can run as a 64-bit PV guest, else the reason.  ConfigError only if it is damaged."""
    view = memoryview(data).cast("B")
    if len(view) >= 20 and bytes(view[:4]) == b"\x7fELF":
        machine = int.from_bytes(view[18:20], "little")
        if machine == _MACHINE_386 and view[4] != _CLASS64:
            return describe_32bit(view)
        if machine == _MACHINE_386 or view[4] != _CLASS64:
            return "a 32-bit kernel; only 64-bit PV guests can run"
        if machine != _MACHINE_X86_64:
            return f"built for another machine (ELF machine {machine}), not x86-64"
    notes = read_notes(ElfFile(data, name))
    if notes is None:
        return describe_silent(view)
    return notes.why_not_pv()


def load_elf(data: bytes | memoryview, name: str) -> ElfKernel:
    """Resolve an ELF image for loading as a 64-bit PV guest; ConfigError if it is damaged or cannot run as one."""
    reason = why_not_pv(data, name)
    if reason is not None:
        raise ConfigError(f"{name}: cannot run as a PV guest: {reason}")
    elf = ElfFile(data, name)
    notes = read_notes(elf)
    assert notes is not None
    if notes.paddr_offset is not None and notes.virt_base is None:
        raise ConfigError(f"{name}: it has an ELF_PADDR_OFFSET, but no VIRT_BASE")
    virt_base = notes.virt_base or 0
    paddr_offset = notes.paddr_offset
    if paddr_offset is None:
        paddr_offset = virt_base if notes.legacy else 0

    segments = []
    for kind, flags, offset, _vaddr, paddr, filesz, memsz, _align in elf.program_headers:
        if kind != _PT_LOAD or not flags & 7 or not memsz:
            continue
        if filesz > memsz:
            raise ConfigError(f"{name}: damaged ELF file (a segment holds more bytes than it occupies)")
        place = paddr - paddr_offset
        if place < 0 or virt_base + place + memsz > ADDRESS_LIMIT:
            raise ConfigError(f"{name}: a segment at address {paddr:#x} lies outside of the region at {virt_base:#x}")
        segments.append(Segment(place, memsz, elf.bytes_at(offset, filesz, "a segment")))
    if not segments:
        raise ConfigError(f"{name}: an ELF file without anything to load")
    start = virt_base + min(segment.offset for segment in segments)
    end = virt_base + max(segment.offset + segment.size for segment in segments)

    entry = elf.entry if notes.entry is None else notes.entry
    if not start <= entry < end:
        raise ConfigError(f"{name}: its entry point {entry:#x} lies outside of the image ({start:#x} to {end:#x})")
    page = notes.hypercall_page
    if page is not None and (page % PAGE_SIZE or not virt_base <= page <= end - PAGE_SIZE):
        raise ConfigError(f"{name}: its hypercall page {page:#x} lies outside of the image ({start:#x} to {end:#x})")
    p2m = notes.init_p2m
    if p2m is not None and (p2m % PAGE_SIZE or start <= p2m < end):
        raise ConfigError(f"{name}: its p2m list at {p2m:#x} would lie on the image ({start:#x} to {end:#x})")
    return ElfKernel(notes, tuple(segments), virt_base, start, end, entry, page)
