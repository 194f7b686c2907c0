"""The names that Linux's modules have for their addresses: each keeps its own table of symbols (struct mod_kallsyms).

What is read is the guest's, which writes there what it likes, and changes while it is read: all of it is bounded, and
a module that makes no sense is left out.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from xenia.errors import ConfigError
from xenia.toolstack.symbols.btf import BtfType
from xenia.toolstack.symbols.kallsyms import Symbol
from xenia.toolstack.symbols.kernel_memory import Read

_SYM: Final = Struct("<IBBHQQ")  # Elf64_Sym
_MOST_MODULES: Final = 4096
_MOST_SYMBOLS: Final = 1 << 20  # of all modules
_MOST_NAMES: Final = 64 << 20  # bytes of the names of all
_LONGEST: Final = 512  # bytes of a name
_LONGEST_MODULE: Final = 56  # MODULE_NAME_LEN
_MODULES_FROM: Final = 0xFFFFFFFF80000000  # where Linux loads them, behind its image
_HEAD: Final = "modules"
_STT_FUNC, _SHN_UNDEF = 2, 0


class ModuleSymbols(NamedTuple):
    """A module's name, and its symbols by address."""

    name: str
    symbols: list[Symbol]


class _Places:
    """Where the members are that lead from the list of modules to their symbols.  ConfigError where the types are not
    there."""

    def __init__(self, types: list[BtfType]) -> None:
        offsets = {
            one.name: {name: offset // 8 for name, _, offset, _ in one.members}
            for one in types if one.kind == "struct" and one.name in ("module", "mod_kallsyms")
        }  # fmt: skip
        try:
            module, table = offsets["module"], offsets["mod_kallsyms"]
            self.list, self.name, self.kallsyms = (module[name] for name in ("list", "name", "kallsyms"))
            self.symtab, self.count, self.strtab = (table[name] for name in ("symtab", "num_symtab", "strtab"))
        except KeyError:
            raise ConfigError("the kernel's types do not say where modules keep their symbols") from None


def loaded_modules(read: Read, symbols: list[Symbol], types: list[BtfType]) -> list[ModuleSymbols]:
    """Those of the kernel with these symbols; none where its types do not say enough."""
    head = next((symbol.address for symbol in symbols if symbol.name == _HEAD), None)
    try:
        return [] if head is None else read_module_symbols(read, types, head)
    except ConfigError:
        return []


def read_module_symbols(read: Read, types: list[BtfType], modules: int) -> list[ModuleSymbols]:
    """Those of all modules that are loaded; `modules` is the head of their list.  ConfigError where `types` are of a
    kernel without."""
    places = _Places(types)
    found: list[ModuleSymbols] = []
    seen = {modules}
    left = [_MOST_SYMBOLS, _MOST_NAMES]
    at = _number(read, modules)
    while at is not None and at not in seen and len(seen) <= _MOST_MODULES:
        seen.add(at)
        module = at - places.list
        name = read(module + places.name, _LONGEST_MODULE).partition(b"\0")[0].decode("latin-1")
        symbols = _symbols(read, places, _number(read, module + places.kallsyms), left)
        if name.isprintable() and symbols:
            found.append(ModuleSymbols(name, symbols))
        at = _number(read, at)
    return found


def _symbols(read: Read, places: _Places, table: int | None, left: list[int]) -> list[Symbol]:
    if table is None:
        return []
    symtab, strtab = _number(read, table + places.symtab), _number(read, table + places.strtab)
    count = _number(read, table + places.count, 4)
    if symtab is None or strtab is None or count is None or not 0 < count <= left[0]:
        return []
    entries = [
        entry for entry in _SYM.iter_unpack(_whole(read, symtab, count * _SYM.size))
        if entry[3] != _SHN_UNDEF and entry[4] >= _MODULES_FROM
    ]  # fmt: skip
    size = max((entry[0] for entry in entries), default=0) + _LONGEST
    if size > left[1]:
        return []
    left[0] -= count
    left[1] -= size
    names = read(strtab, size)  # or less, where memory ends behind them
    found = []
    for name_at, info, _, _, address, _ in entries:
        name = names[name_at : name_at + _LONGEST].partition(b"\0")[0].decode("latin-1")
        kind = "t" if info & 15 == _STT_FUNC else "d"
        if name and name.isprintable():
            found.append(Symbol(address, kind if info >> 4 == 0 else kind.upper(), name))
    return sorted(found)


def _whole(read: Read, address: int, size: int) -> bytes:
    data = read(address, size)
    return data if len(data) == size else b""


def _number(read: Read, address: int, size: int = 8) -> int | None:
    data = _whole(read, address, size) if 0 <= address < 1 << 64 else b""
    return int.from_bytes(data, "little") if data else None
