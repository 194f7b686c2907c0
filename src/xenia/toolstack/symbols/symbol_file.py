"""A kernel's symbols and frames, as an ELF file that a debugger takes for its own."""

from __future__ import annotations

from struct import Struct
from typing import Final

from xenia.errors import ConfigError
from xenia.toolstack.symbols.btf import kernel_types
from xenia.toolstack.symbols.kallsyms import Symbol, read_kallsyms
from xenia.toolstack.symbols.kernel_memory import KernelMemory, Read
from xenia.toolstack.symbols.modules import ModuleSymbols, loaded_modules
from xenia.toolstack.symbols.orc import read_frames

_EHDR: Final = Struct("<16sHHIQQQIHHHHHH")
_SHDR: Final = Struct("<IIQQQQIIQQ")
_SYM: Final = Struct("<IBBHQQ")
_IDENT: Final = b"\x7fELF\x02\x01\x01"
_ET_EXEC, _EM_X86_64, _EV_CURRENT = 2, 62, 1
_SHT_PROGBITS, _SHT_SYMTAB, _SHT_STRTAB, _SHT_NOBITS = 1, 2, 3, 8
_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR = 1, 2, 4
_SHN_ABS: Final = 0xFFF1
_STB_LOCAL, _STB_GLOBAL, _STB_WEAK = 0, 1, 2
_STT_OBJECT, _STT_FUNC = 1, 2
_PARTS: Final = (
    (".text", "_text", "_etext", _SHF_EXECINSTR), (".data", "_etext", "_sinittext", _SHF_WRITE),
    (".init.text", "_sinittext", "_einittext", _SHF_EXECINSTR), (".bss", "_einittext", "_end", _SHF_WRITE),
)  # fmt: skip


def symbol_file(memory: KernelMemory, read: Read) -> bytes:
    """That of a kernel and the modules that it has loaded, with addresses as they are in memory, of which `read` reads
    what is not in the kernel's part.  ConfigError where it has no symbols there."""
    symbols = sorted(read_kallsyms(memory))
    try:
        types = kernel_types(memory, symbols)
    except ConfigError:
        types = []  # and so nothing is known of its modules
    return _elf(symbols, loaded_modules(read, symbols, types), read_frames(memory, symbols))


def _elf(symbols: list[Symbol], modules: list[ModuleSymbols], frames: bytes) -> bytes:
    places: dict[str, int] = {}
    for symbol in symbols:
        places.setdefault(symbol.name, symbol.address)
    parts = [
        (name, places[begin], places[end], flags) for name, begin, end, flags in _PARTS
        if places.get(begin, 0) < places.get(end, 0) and begin in places
    ]  # fmt: skip
    for module in modules:
        functions = [symbol.address for symbol in module.symbols if symbol.kind in "tT"]
        if functions:
            parts.append((f".text.{module.name}", functions[0], functions[-1] + 1, _SHF_EXECINSTR))
    symbols = sorted([*symbols, *(symbol for module in modules for symbol in module.symbols)])
    table, strings, nr_local = _symbols(symbols, [(begin, end) for _, begin, end, _ in parts])
    names = [
        b"",
        *(name.encode("latin-1") for name, *_ in parts),
        b".debug_frame",
        b".symtab",
        b".strtab",
        b".shstrtab",
    ]
    name_table = b"\0".join(names) + b"\0"
    nr_parts = len(parts)
    at = _EHDR.size
    headers = bytearray(_SHDR.size)
    for name, begin, end, flags in parts:
        name_at, flags = name_table.index(b"\0" + name.encode("latin-1") + b"\0") + 1, flags | _SHF_ALLOC
        headers += _SHDR.pack(name_at, _SHT_NOBITS, flags, begin, at, end - begin, 0, 0, 16, 0)
    body = bytearray()
    for name_bytes, kind, data, link, info, align, entry in (
        (b".debug_frame", _SHT_PROGBITS, frames, 0, 0, 8, 0),
        (b".symtab", _SHT_SYMTAB, table, nr_parts + 3, nr_local, 8, _SYM.size),
        (b".strtab", _SHT_STRTAB, strings, 0, 0, 1, 0),
        (b".shstrtab", _SHT_STRTAB, name_table, 0, 0, 1, 0),
    ):
        body += b"\0" * (-len(body) % 8)
        name_at = name_table.index(b"\0" + name_bytes + b"\0") + 1
        headers += _SHDR.pack(name_at, kind, 0, 0, at + len(body), len(data), link, info, align, entry)
        body += data
    body += b"\0" * (-len(body) % 8)
    head = _EHDR.pack(
        _IDENT, _ET_EXEC, _EM_X86_64, _EV_CURRENT, 0, 0, at + len(body), 0, _EHDR.size, 0, 0, _SHDR.size,
        len(headers) // _SHDR.size, len(headers) // _SHDR.size - 1,
    )  # fmt: skip
    return head + bytes(body) + bytes(headers)


def _symbols(symbols: list[Symbol], parts: list[tuple[int, int]]) -> tuple[bytes, bytes, int]:
    """A symbol table, its strings, and how many of it are local, which come first.

    symbols   by address: one is as long as there is to the next
    """
    local, others, strings = bytearray(_SYM.size), bytearray(), bytearray(b"\0")
    following = 0
    for symbol in reversed(symbols):
        address, kind, name = symbol
        section = next((n for n, (begin, end) in enumerate(parts, 1) if begin <= address < end), _SHN_ABS)
        size = following - address if 0 < following - address < 1 << 24 and section != _SHN_ABS else 0
        following = address if address != following else following
        what = _STT_FUNC if kind in "tTwW" else _STT_OBJECT
        binding = _STB_WEAK if kind in "wWvV" else _STB_LOCAL if kind.islower() else _STB_GLOBAL
        entry = _SYM.pack(len(strings), binding << 4 | what, 0, section, address, size)
        if binding == _STB_LOCAL:
            local += entry
        else:
            others += entry
        strings += name.encode("latin-1") + b"\0"
    return bytes(local + others), bytes(strings), len(local) // _SYM.size
