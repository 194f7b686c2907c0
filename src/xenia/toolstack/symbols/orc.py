"""How Linux finds the caller of each of its instructions, said in DWARF's words.

Linux is built without frame pointers and without .eh_frame.  It keeps, for itself, the tables __orc_unwind_ip and
__orc_unwind (asm/orc_types.h, arch/x86/kernel/unwind_orc.c): from which instruction on the stack looks how.  Each such
row is a row of DWARF's call frame information as well, so that a debugger unwinds a kernel as it does itself.
"""

from __future__ import annotations

from enum import IntEnum
from itertools import pairwise
from struct import Struct, iter_unpack, pack, unpack_from
from typing import Final, NamedTuple

from xenia.errors import ConfigError
from xenia.toolstack.symbols.kallsyms import Symbol
from xenia.toolstack.symbols.kernel_memory import KernelMemory

_TABLES: Final = ("__start_orc_unwind_ip", "__stop_orc_unwind_ip", "__start_orc_unwind", "__stop_orc_unwind")
_ROW: Final = Struct("<hhH")
_ROWS_OF_ONE: Final = 64  # in a description: a debugger reads one from its beginning
_MOST: Final = 1 << 21  # rows

# ORC_REG_*, and as DWARF numbers them
_UNDEFINED, _PREV_SP, _DX, _DI, _BP, _SP, _R10, _R13, _BP_INDIRECT, _SP_INDIRECT = range(10)
_PLAIN: Final = {_DX: 1, _DI: 5, _BP: 6, _SP: 7, _R10: 10, _R13: 13}
_RBP, _RSP, _RIP = 6, 7, 16
_PT_REGS: Final = (15, 14, 13, 12, 6, 3, 11, 10, 9, 8, 0, 2, 1, 4, 5)  # struct pt_regs from its beginning, in DWARF's
_PT_IP, _PT_SP = 128, 152
_IRET_SP: Final = 24  # in the part of it that is an interrupt's frame


class _Kind(IntEnum):
    """What a row says; rows of one kind have one CIE."""

    END = 0
    CALL = 1
    REGS = 2
    REGS_PARTIAL = 3


class _Form(NamedTuple):
    """How a release of Linux says in a row's flags what it is."""

    types: int  # mask, from bit 8 on
    kinds: dict[int, _Kind]


_UNTIL_6_3: Final = _Form(3, {0: _Kind.CALL, 1: _Kind.REGS, 2: _Kind.REGS_PARTIAL})
_SINCE_6_4: Final = _Form(7, {2: _Kind.CALL, 3: _Kind.REGS, 4: _Kind.REGS_PARTIAL})

_ADVANCE, _OFFSET = 0x40, 0x80  # DW_CFA_*
_ADVANCE4, _UNDEFINED_RULE, _SAME, _DEF_CFA, _DEF_CFA_EXPRESSION, _EXPRESSION, _OFFSET_SF, _DEF_CFA_SF = (
    0x04, 0x07, 0x08, 0x0C, 0x0F, 0x10, 0x11, 0x12,
)  # fmt: skip
_DEREF, _PLUS, _BREG = 0x06, 0x23, 0x70  # DW_OP_*


def read_frames(memory: KernelMemory, symbols: list[Symbol]) -> bytes:
    """A section .debug_frame; nothing where the kernel has no such tables, or they are not in order."""
    places = {symbol.name: symbol.address for symbol in symbols if symbol.name in _TABLES}
    if len(places) < len(_TABLES):
        return b""
    ips_at, ips_end, rows_at, rows_end = (places[name] for name in _TABLES)
    count = (ips_end - ips_at) // 4
    if not 0 < count <= _MOST or rows_end - rows_at < count * _ROW.size:
        return b""
    try:
        offsets = unpack_from(f"<{count}i", memory.read(ips_at, count * 4))
        rows = bytes(memory.read(rows_at, count * _ROW.size))
    except ConfigError:
        return b""
    addresses = [ips_at + 4 * number + offset for number, offset in enumerate(offsets)]
    if addresses[-1] >= 1 << 64 or any(one > other for one, other in pairwise(addresses)):
        return b""
    return _Section(_form(rows)).of(addresses, rows)


def _form(rows: bytes) -> _Form:
    """Most rows are of functions that have moved nothing but the stack's pointer."""
    old = new = 0
    for _, _, flags in iter_unpack(_ROW.format, rows):
        if flags & 15 == _SP:
            old += flags >> 8 & 3 == 0
            new += flags >> 8 & 7 == 2
    return _UNTIL_6_3 if old > new else _SINCE_6_4


class _Section:
    def __init__(self, form: _Form) -> None:
        self._form = form
        self._known: dict[bytes, tuple[_Kind, bytes]] = {}
        self._data = bytearray()
        self._cies = [self._cie(kind) for kind in _Kind]

    def of(self, addresses: list[int], rows: bytes) -> bytes:
        """A description for each run of rows of one kind that is not too long."""
        known, begun, program, kind, number = self._known, 0, bytearray(), _Kind.END, _ROWS_OF_ONE
        at = addresses[0]
        for index, address in enumerate(addresses):
            row = rows[index * 6 : index * 6 + 6]
            if row not in known:
                known[row] = self._rules(row)
            this, rules = known[row]
            if this is not kind or number >= _ROWS_OF_ONE:
                self._describe(kind, begun, address, program)
                begun, program, kind, number = address, bytearray(), this, 0
            elif address - at < 0x40:
                program.append(_ADVANCE | address - at)
            else:
                program += pack("<BI", _ADVANCE4, min(address - at, 0xFFFFFFFF))
            program += rules
            at, number = address, number + 1
        self._describe(kind, begun, at + 1, program)
        return bytes(self._data)

    def _describe(self, kind: _Kind, begin: int, end: int, program: bytearray) -> None:
        """An FDE."""
        if begin and end > begin:
            head = pack("<IQQ", self._cies[kind], begin, end - begin)
            self._put(head + (b"\0" if kind in _SIGNALS else b"") + program)

    def _put(self, entry: bytes) -> None:
        entry += b"\0" * (-(len(entry) + 4) % 8)  # DW_CFA_nop
        self._data += len(entry).to_bytes(4, "little") + entry

    def _cie(self, kind: _Kind) -> int:
        at = len(self._data)
        lost = b"".join(bytes((_UNDEFINED_RULE, register)) for register in (*range(6), *range(8, 16)))
        match kind:
            case _Kind.REGS:
                rules = b"".join(_saved(register, 8 * number) for number, register in enumerate(_PT_REGS))
                rules += _saved(_RIP, _PT_IP) + _saved(_RSP, _PT_SP)
            case _Kind.REGS_PARTIAL:
                rules = _saved(_RIP, 0) + _saved(_RSP, _IRET_SP)
            case _Kind.CALL:
                rules = lost + bytes((_OFFSET | _RIP, 1))
            case _:
                rules = bytes((_UNDEFINED_RULE, _RIP))
        augmentation = b"zS\0" if kind in _SIGNALS else b"\0"
        head = pack("<IB", 0xFFFFFFFF, 3) + augmentation + bytes((1, -8 & 0x7F, _RIP))
        self._put(head + (b"\0" if kind in _SIGNALS else b"") + bytes((_DEF_CFA, _RSP, 8)) + rules)
        return at

    def _rules(self, row: bytes) -> tuple[_Kind, bytes]:
        """What a row says, whatever the one before said."""
        sp_offset, bp_offset, flags = _ROW.unpack(row)
        sp, bp = flags & 15, flags >> 4 & 15
        kind = self._form.kinds.get(flags >> 8 & self._form.types)
        cfa = _cfa(sp, sp_offset)
        if kind is None or cfa is None:
            return _Kind.END, b""
        if kind is not _Kind.CALL:
            return kind, cfa
        if bp == _PREV_SP:
            return kind, cfa + _saved(_RBP, bp_offset)
        if bp == _BP:
            where = bytes((_BREG + _RBP,)) + _signed(bp_offset)
            return kind, cfa + bytes((_EXPRESSION, _RBP, len(where))) + where
        return kind, cfa + bytes((_SAME, _RBP))


_SIGNALS: Final = (_Kind.REGS, _Kind.REGS_PARTIAL)  # the caller may be at its first instruction: it was interrupted


def _cfa(register: int, offset: int) -> bytes | None:
    """Where the caller's stack ends; what the kernel calls sp."""
    if register in _PLAIN:
        if offset >= 0:
            return bytes((_DEF_CFA, _PLAIN[register])) + _unsigned(offset)
        if offset % 8 == 0:
            return bytes((_DEF_CFA_SF, _PLAIN[register])) + _signed(offset // -8)
        return None
    if register == _BP_INDIRECT:
        where = bytes((_BREG + _RBP,)) + _signed(offset) + bytes((_DEREF,))
    elif register == _SP_INDIRECT and offset >= 0:
        where = bytes((_BREG + _RSP, 0, _DEREF, _PLUS)) + _unsigned(offset)
    else:
        return None
    return bytes((_DEF_CFA_EXPRESSION, len(where))) + where


def _saved(register: int, offset: int) -> bytes:
    """Kept so far from there, in units of -8."""
    return bytes((_OFFSET_SF, register)) + _signed(offset // -8)


def _unsigned(value: int) -> bytes:
    """LEB128."""
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))


def _signed(value: int) -> bytes:
    found = bytearray()
    while not -0x40 <= value < 0x40:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value & 0x7F))
