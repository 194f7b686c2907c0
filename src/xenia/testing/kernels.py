"""Kernel images made to measure: ELF files with the notes and segments a test wants, and bzImages around a payload."""

from collections.abc import Iterable, Sequence
from struct import Struct, pack, pack_into

from xenia.abi.elfnote import NOTE_NAME

_EHDR = Struct("<4sBBBBB7x HHIQQQIHHHHHH")
_PHDR = Struct("<IIQQQQQQ")
_SHDR = Struct("<IIQQQQIIQQ")
_PT_LOAD, _PT_NOTE = 1, 4
_SHT_STRTAB, _SHT_NOTE, _SHT_PROGBITS = 3, 7, 1
MACHINE_386, MACHINE_X86_64 = 3, 62


def note(kind: int, value: int | str | bytes, *, owner: bytes = NOTE_NAME, size: int = 8) -> bytes:
    """One ELF note; a number takes `size` bytes, a string ends with a NUL."""
    if isinstance(value, int):
        value = value.to_bytes(size, "little")
    elif isinstance(value, str):
        value = value.encode() + b"\0"
    padding = bytes(-len(value) % 4)
    return pack("<III", len(owner), len(value), kind) + owner.ljust(-(-len(owner) // 4) * 4, b"\0") + value + padding


def elf_image(
    segments: Sequence[tuple[int, bytes, int]] = (),
    notes: Iterable[bytes] = (),
    *,
    entry: int = 0,
    machine: int = MACHINE_X86_64,
    note_section: bool = False,
    sections: Sequence[tuple[str, bytes]] = (),
) -> bytes:
    """An ELF64 file.  Segments are (p_paddr, bytes, size in memory); notes go to a segment, or to a section."""
    blob = b"".join(notes)
    loads = list(segments)
    program_headers = []
    body = bytearray()
    nr_program_headers = len(loads) + bool(blob and not note_section)
    position = _EHDR.size + nr_program_headers * _PHDR.size

    def place(data: bytes) -> int:
        offset = position + len(body)
        body.extend(data)
        return offset

    for paddr, data, size in loads:
        program_headers.append(_PHDR.pack(_PT_LOAD, 7, place(data), 0, paddr, len(data), size, 4096))
    all_sections = [(title, _SHT_PROGBITS, data) for title, data in sections]
    if blob and note_section:
        all_sections.append((".notes", _SHT_NOTE, blob))
    elif blob:
        program_headers.append(_PHDR.pack(_PT_NOTE, 4, place(blob), 0, 0, len(blob), len(blob), 4))
    section_table, section_names = b"", b"\0"
    if all_sections:
        headers = [bytes(_SHDR.size)]
        for title, kind, data in all_sections:
            headers.append(_SHDR.pack(len(section_names), kind, 0, 0, place(data), len(data), 0, 0, 1, 0))
            section_names += title.encode() + b"\0"
        own_name = len(section_names)
        section_names += b".shstrtab\0"
        headers.append(_SHDR.pack(own_name, _SHT_STRTAB, 0, 0, place(section_names), len(section_names), 0, 0, 1, 0))
        section_table = b"".join(headers)
    nr_sections = len(section_table) // _SHDR.size
    header = _EHDR.pack(
        b"\x7fELF", 2, 1, 1, 0, 0, 2, machine, 1, entry, _EHDR.size if program_headers else 0,
        position + len(body) if section_table else 0, 0, _EHDR.size, _PHDR.size, len(program_headers),
        _SHDR.size, nr_sections, nr_sections - 1 if nr_sections else 0,
    )  # fmt: skip
    return header + b"".join(program_headers) + bytes(body) + section_table


def bzimage(payload: bytes, *, size: int | None = None, protocol: int = 0x20F, version: str = "6.1.0-test") -> bytes:
    """A bzImage around a packed payload, with its unpacked `size` appended as the kernel's build does (None: not)."""
    if size is not None:
        payload += pack("<I", size)
    setup_sectors, code = 4, bytes(64)  # some protected-mode code in front of the payload
    head = bytearray((setup_sectors + 1) * 512)
    head[0x1F1] = setup_sectors
    head[0x202:0x206] = b"HdrS"
    pack_into("<H", head, 0x206, protocol)
    text = version.encode() + b"\0"
    head[0x400 : 0x400 + len(text)] = text
    pack_into("<H", head, 0x20E, 0x200)
    pack_into("<II", head, 0x248, len(code), len(payload))
    return bytes(head) + code + payload
