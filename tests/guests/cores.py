"""Reading a core back, by what its format says and nothing of ours."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from struct import Struct, iter_unpack

EHDR = Struct("<16sHHIQQQIHHHHHH")
PHDR = Struct("<IIQQQQQQ")
SHDR = Struct("<IIQQQQIIQQ")
PAGE = 4096
FRAME = 0x000FFFFFFFFFF000


def notes(data: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Name, type and contents of each note."""
    at = 0
    while at < len(data):
        name_size, size, kind = Struct("<III").unpack_from(data, at)
        name = data[at + 12 : at + 12 + name_size].rstrip(b"\0").decode()
        at += 12 + (name_size + 3) // 4 * 4
        yield name, kind, data[at : at + size]
        at += (size + 3) // 4 * 4


class Core:
    """One, mapped."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        (
            ident, kind, machine, _, _, self.phoff, self.shoff, _, _, _, self.phnum, _, self.shnum, self.strings,
        ) = EHDR.unpack_from(self.data)  # fmt: skip
        assert (ident[:7], kind, machine) == (b"\x7fELF\x02\x01\x01", 4, 62)

    def frame(self, number: int) -> bytes:
        """A frame, as page tables number them."""
        raise NotImplementedError

    def read(self, root: int, va: int, size: int) -> bytes:
        """What is at a virtual address, within one page, by the tables from frame `root` on."""
        for shift in (39, 30, 21, 12):
            index = va >> shift & 511
            entry = int.from_bytes(self.frame(root)[index * 8 : index * 8 + 8], "little")
            assert entry & 1, f"{va:#x} is not mapped"
            root = (entry & FRAME) >> 12
        return self.frame(root)[va % PAGE : va % PAGE + size]


class XenCore(Core):
    """Of Xen's format."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        headers = [SHDR.unpack_from(self.data, self.shoff + i * SHDR.size) for i in range(self.shnum)]
        names = self._bytes(headers[self.strings])
        self.sections = {names[one[0] :].partition(b"\0")[0].decode(): one for one in headers}
        self.p2m = list(iter_unpack("<QQ", self.section(".xen_p2m")))
        self._at = {mfn: slot for slot, (_, mfn) in enumerate(self.p2m)}
        self.notes = {kind: data for name, kind, data in notes(self.section(".note.Xen")) if name == "Xen"}

    def _bytes(self, header: tuple[int, ...]) -> bytes:
        return self.data[header[4] : header[4] + header[5]]

    def section(self, name: str) -> bytes:
        """What is in it."""
        return self._bytes(self.sections[name])

    def frame(self, number: int) -> bytes:
        at = self.sections[".xen_pages"][4] + self._at[number] * PAGE
        return self.data[at : at + PAGE]


class ElfCore(Core):
    """A vmcore."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        headers = [PHDR.unpack_from(self.data, self.phoff + i * PHDR.size) for i in range(self.phnum)]
        self.loads = [(paddr, offset, size) for kind, _, offset, _, paddr, size, _, _ in headers if kind == 1]
        self.notes = [
            note for kind, _, offset, _, _, size, _, _ in headers if kind == 4
            for note in notes(self.data[offset : offset + size])
        ]  # fmt: skip

    def frame(self, number: int) -> bytes:
        for paddr, offset, size in self.loads:
            if paddr <= number * PAGE < paddr + size:
                at = offset + number * PAGE - paddr
                return self.data[at : at + PAGE]
        raise KeyError(number)
