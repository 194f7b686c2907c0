"""A kernel's types, as its BTF tells them (linux/btf.h)."""

from __future__ import annotations

from dataclasses import dataclass, field
from struct import Struct, error as StructError, unpack_from
from typing import Final

from xenia.errors import ConfigError
from xenia.toolstack.symbols.kallsyms import Symbol
from xenia.toolstack.symbols.kernel_memory import KernelMemory

_KINDS: Final = (
    "void", "int", "pointer", "array", "struct", "union", "enum", "fwd", "typedef", "volatile", "const", "restrict",
    "func", "func_proto", "var", "datasec", "float", "decl_tag", "type_tag", "enum64",
)  # fmt: skip
_MOST_TYPES, _MOST_MEMBERS = 1 << 19, 1 << 20
_MOST: Final = 64 << 20  # bytes of a kernel's
_PLACES: Final = ("__start_BTF", "__stop_BTF")
_LONGEST: Final = 512  # bytes of a name with its end
_MOST_TEXT: Final = 64 << 20  # bytes of all names
_HEADER: Final = Struct("<HBBIIIII")
_TYPE: Final = Struct("<III")
_EXTRA: Final = {"int": 4, "array": 12, "var": 4, "decl_tag": 4}  # bytes behind a type
_EACH: Final = {
    "struct": 12,
    "union": 12,
    "enum": 8,
    "func_proto": 8,
    "datasec": 12,
    "enum64": 12,
}  # and for each member


@dataclass
class BtfType:
    """One of them: `size` in bytes, `to` the number of what it is made of; of an array `count` of them.

    members     of structs and unions: name, type, offset in bits, size in bits (0: no bit field); of enums: name, value
    encoding    of an int: 1 signed, 2 char, 4 bool
    """

    kind: str
    name: str
    size: int = 0
    to: int = 0
    count: int = 0
    signed: bool = False
    encoding: int = 0
    members: list[tuple[str, int, int, int]] = field(default_factory=list)


def kernel_types(memory: KernelMemory, symbols: list[Symbol]) -> list[BtfType]:
    """Those that the kernel with these symbols keeps in its memory.  ConfigError where it has none."""
    places = {symbol.name: symbol.address for symbol in symbols if symbol.name in _PLACES}
    if len(places) < len(_PLACES):
        raise ConfigError("its kernel has no types in memory (CONFIG_DEBUG_INFO_BTF)")
    begin, end = (places[name] for name in _PLACES)
    if not 0 < end - begin <= _MOST:
        raise ConfigError("the kernel's BTF is damaged")
    return read_btf(bytes(memory.read(begin, end - begin)))


def read_btf(data: bytes) -> list[BtfType]:
    """The types that a section .BTF holds, by number.  ConfigError where it is none."""
    try:
        return _read(data)
    except (StructError, IndexError, ValueError):
        raise ConfigError("the kernel's BTF is damaged") from None


def _read(data: bytes) -> list[BtfType]:
    _, _, _, header, type_at, type_size, string_at, string_size = _HEADER.unpack_from(data)
    names = _Names(data[header + string_at :][:string_size])
    at, end = header + type_at, header + type_at + type_size
    types, nr_members = [BtfType("void", "")], 0
    while at < end:
        name_at, info, size = _TYPE.unpack_from(data, at)
        at += _TYPE.size
        kind, count = _KINDS[info >> 24 & 31], info & 0xFFFF
        nr_members += count
        if len(types) > _MOST_TYPES or nr_members > _MOST_MEMBERS:
            raise ValueError
        one = BtfType(kind, names[name_at], size, size, signed=bool(info >> 31))
        if kind == "int":
            (word,) = unpack_from("<I", data, at)
            one.encoding = word >> 24 & 15
        elif kind == "array":
            one.to, _, one.count = unpack_from("<III", data, at)
        elif kind in ("struct", "union"):
            for i in range(count):
                name, to, offset = unpack_from("<III", data, at + 12 * i)
                bits, offset = (offset >> 24, offset & 0xFFFFFF) if one.signed else (0, offset)
                one.members.append((names[name], to, offset, bits))
        elif kind == "enum":
            for i in range(count):
                name, value = unpack_from("<Ii" if one.signed else "<II", data, at + 8 * i)
                one.members.append((names[name], value, 0, 0))
        elif kind == "enum64":
            for i in range(count):
                name, low, high = unpack_from("<III", data, at + 12 * i)
                one.members.append((names[name], high << 32 | low, 0, 0))
        at += _EXTRA.get(kind, 0) + _EACH.get(kind, 0) * count
        types.append(one)
    return types


class _Names(dict[int, str]):
    """By where they begin: each once."""

    def __init__(self, strings: bytes) -> None:
        self._strings = strings
        self._left = _MOST_TEXT

    def __missing__(self, at: int) -> str:
        end = self._strings.index(b"\0", at, at + _LONGEST)
        self._left -= end - at
        if self._left < 0:
            raise ValueError
        name = self[at] = self._strings[at:end].decode()
        return name
