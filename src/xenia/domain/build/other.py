"""What a kernel is that cannot run as a 64-bit PV guest, in the operator's words."""

from __future__ import annotations

import re
from struct import Struct
from typing import Final

from xenia.abi.elfnote import LEGACY_SECTION, NOTE_NAME, ElfNote
from xenia.domain.build.notes import iterate_notes

_EHDR32: Final = Struct("<16sHHIIIIIHHHHHH")
_PHDR32: Final = Struct("<IIIIIIII")
_SHDR32: Final = Struct("<IIIIIIIIII")
_PT_NOTE, _SHT_NOTE = 4, 7
# Where a boot loader looks for the header, and what it looks for.
_MULTIBOOT: Final = ((8192, 4, b"\x02\xb0\xad\x1b"), (32768, 8, b"\xd6\x50\x52\xe8"))
_PV_NOTES: Final = frozenset((ElfNote.ENTRY, ElfNote.VIRT_BASE, ElfNote.HYPERCALL_PAGE))


def is_multiboot(image: memoryview) -> bool:
    """Whether GRUB and the like can start it on a real machine, and so HVM guests can."""
    for reach, step, magic in _MULTIBOOT:
        head = bytes(image[:reach])
        if any(found.start() % step == 0 for found in re.finditer(re.escape(magic), head)):
            return True
    return False


def describe_32bit(image: memoryview) -> str:
    """What a 32-bit ELF kernel is, and why it cannot run."""
    kinds = _xen_notes(image)
    if kinds & _PV_NOTES or LEGACY_SECTION.encode() in bytes(image):
        system = re.search(rb"GUEST_OS=([\w .-]{1,40})", image)
        name = f" ({system[1].decode()})" if system else ""
        return f"a 32-bit PV kernel{name}; only 64-bit PV guests can run"
    if ElfNote.PHYS32_ENTRY in kinds:
        return "a 32-bit kernel for PVH and HVM guests only (it has a PHYS32_ENTRY note, but no PV entry)"
    if is_multiboot(image):
        return "a 32-bit Multiboot kernel, for real machines and HVM guests; it has no Xen notes"
    return "a 32-bit kernel for real machines and HVM guests; it has no Xen notes"


def describe_silent(image: memoryview) -> str:
    """What a 64-bit kernel is that has no word for Xen."""
    if re.search(rb"Linux version ", image):
        return "it has no Xen notes (built without CONFIG_XEN_PV)"
    if is_multiboot(image):
        return "it has no Xen notes: a Multiboot kernel, for real machines and HVM guests"
    return "it has no Xen notes (built without CONFIG_XEN_PV)"


def _xen_notes(image: memoryview) -> set[int]:
    """The types of the Xen notes in a 32-bit ELF file, as far as it is sound."""
    if len(image) < _EHDR32.size:
        return set()
    fields = _EHDR32.unpack_from(image)
    phoff, shoff, phnum, shnum = fields[5], fields[6], fields[10], fields[12]
    places = []
    for index in range(phnum):
        if phoff + (index + 1) * _PHDR32.size <= len(image):
            kind, offset, _, _, size, *_ = _PHDR32.unpack_from(image, phoff + index * _PHDR32.size)
            places += [(offset, size)] if kind == _PT_NOTE else []
    for index in range(shnum):
        if shoff + (index + 1) * _SHDR32.size <= len(image):
            _, kind, _, _, offset, size, *_ = _SHDR32.unpack_from(image, shoff + index * _SHDR32.size)
            places += [(offset, size)] if kind == _SHT_NOTE else []
    notes = (note for offset, size in places for note in iterate_notes(image[offset : offset + size]))
    return {kind for owner, kind, _ in notes if owner == NOTE_NAME}
