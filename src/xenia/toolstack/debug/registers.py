"""A vcpu's registers as GDB has them: its numbers, widths and types (target descriptions, its manual's appendix G)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol


class Registers(Protocol):
    """Those of one vcpu that stands."""

    @property
    def registers(self) -> dict[str, int]: ...

    @property
    def fpu(self) -> bytes: ...

    def set_registers(self, values: Mapping[str, int]) -> None: ...

    def set_fpu(self, area: bytes) -> None: ...


@dataclass(frozen=True)
class Register:
    """One: its name in GDB, bits, type there, and where it is: in what fxsave64 stores, or under its name."""

    name: str
    bits: int
    type: str
    at: int | None = None  # of fxsave64, in bytes
    stored: int = 0  # bits there; 0: as many

    @property
    def size(self) -> int:
        """Bytes in a packet."""
        return self.bits // 8


def _general() -> list[Register]:
    names = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)))
    types = {"rbp": "data_ptr", "rsp": "data_ptr"}
    return [
        *(Register(name, 64, types.get(name, "int64")) for name in names),
        Register("rip", 64, "code_ptr"),
        Register("eflags", 32, "i386_eflags"),
        *(Register(name, 32, "int32") for name in ("cs", "ss", "ds", "es", "fs", "gs")),
        *(Register(f"st{n}", 80, "i387_ext", 32 + 16 * n) for n in range(8)),
        Register("fctrl", 32, "int", 0, 16),
        Register("fstat", 32, "int", 2, 16),
        Register("ftag", 32, "int", 4, 8),
        Register("fiseg", 32, "int", 464, 16),
        Register("fioff", 32, "int", 8),
        Register("foseg", 32, "int", 466, 16),
        Register("fooff", 32, "int", 16),
        Register("fop", 32, "int", 6, 16),
    ]


_FEATURES: Final[tuple[tuple[str, str, list[Register]], ...]] = (
    (
        "org.gnu.gdb.i386.core",
        '<flags id="i386_eflags" size="4">'
        + "".join(
            f'<field name="{name}" start="{bit}" end="{bit}"/>'
            for name, bit in (
                ("CF", 0), ("", 1), ("PF", 2), ("AF", 4), ("ZF", 6), ("SF", 7), ("TF", 8), ("IF", 9), ("DF", 10),
                ("OF", 11), ("NT", 14), ("RF", 16), ("VM", 17), ("AC", 18), ("VIF", 19), ("VIP", 20), ("ID", 21),
            )
        )
        + "</flags>",
        _general(),
    ),
    (
        "org.gnu.gdb.i386.sse",
        '<vector id="v4f" type="ieee_single" count="4"/><vector id="v2d" type="ieee_double" count="2"/>'
        '<vector id="v16i8" type="int8" count="16"/><vector id="v8i16" type="int16" count="8"/>'
        '<vector id="v4i32" type="int32" count="4"/><vector id="v2i64" type="int64" count="2"/>'
        '<union id="vec128"><field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/>'
        '<field name="v16_int8" type="v16i8"/><field name="v8_int16" type="v8i16"/>'
        '<field name="v4_int32" type="v4i32"/><field name="v2_int64" type="v2i64"/>'
        '<field name="uint128" type="uint128"/></union>',
        [*(Register(f"xmm{n}", 128, "vec128", 160 + 16 * n) for n in range(16)), Register("mxcsr", 32, "int", 24)],
    ),
    ("org.gnu.gdb.i386.segments", "", [Register("fs_base", 64, "int"), Register("gs_base", 64, "int")]),
    (
        "org.xenproject.pv",
        "",
        [
            Register(name, 64, "int")
            for name in ("k_gs_base", "cr0", "cr2", "cr3", "cr4", "dr0", "dr1", "dr2", "dr3", "dr6", "dr7")
        ],
    ),
)  # fmt: skip

REGISTERS: Final = [register for _, _, registers in _FEATURES for register in registers]
_ALIASES: Final = {"eflags": "rflags"}


def target_description() -> bytes:
    """What qXfer:features:read:target.xml tells."""
    features = []
    number = 0
    for name, types, registers in _FEATURES:
        lines = []
        for register in registers:
            group = ' group="float"' if register.at is not None and register.type == "int" else ""
            width = f'bitsize="{register.bits}" type="{register.type}" regnum="{number}"{group}'
            lines.append(f'<reg name="{register.name}" {width}/>')
            number += 1
        features.append(f'<feature name="{name}">{types}{"".join(lines)}</feature>')
    return (
        '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target>'
        f"<architecture>i386:x86-64</architecture>{''.join(features)}</target>"
    ).encode()


def read_all(vcpu: Registers) -> bytes:
    """All, one behind the other, as `g` answers them."""
    values, area = vcpu.registers, vcpu.fpu
    return b"".join(_value(register, values, area) for register in REGISTERS)


def read_one(vcpu: Registers, number: int) -> bytes | None:
    """That of a number, as `p` answers it; None where there is none."""
    if not 0 <= number < len(REGISTERS):
        return None
    return _value(REGISTERS[number], vcpu.registers, vcpu.fpu)


def write_all(vcpu: Registers, data: bytes) -> None:
    """All: those that are different are written.  ConfigError where one does not take that."""
    changes, at = {}, 0
    before = read_all(vcpu)
    for number, register in enumerate(REGISTERS):
        part = data[at : at + register.size]
        if len(part) == register.size and part != before[at : at + register.size]:
            changes[number] = part
        at += register.size
    _write(vcpu, changes)


def write_one(vcpu: Registers, number: int, data: bytes) -> bool:
    """That of a number.  False where there is none of that number and size; ConfigError where it does not take that."""
    if not 0 <= number < len(REGISTERS) or len(data) != REGISTERS[number].size:
        return False
    _write(vcpu, {number: data})
    return True


def _value(register: Register, values: Mapping[str, int], area: bytes) -> bytes:
    if register.at is None:
        return (values[_ALIASES.get(register.name, register.name)] % (1 << register.bits)).to_bytes(
            register.size, "little"
        )
    if register.name == "ftag":
        return _tags(area).to_bytes(4, "little")
    stored = (register.stored or register.bits) // 8
    return area[register.at : register.at + stored].ljust(register.size, b"\0")


def _write(vcpu: Registers, changes: Mapping[int, bytes]) -> None:
    values, area = {}, bytearray(vcpu.fpu)
    for number, data in changes.items():
        register = REGISTERS[number]
        if register.at is None:
            values[_ALIASES.get(register.name, register.name)] = int.from_bytes(data, "little")
        elif register.name == "ftag":
            tags = int.from_bytes(data, "little")
            area[register.at] = sum(1 << n for n in range(8) if tags >> 2 * n & 3 != 3)
        else:
            stored = (register.stored or register.bits) // 8
            area[register.at : register.at + stored] = data[:stored]
    if values:
        vcpu.set_registers(values)
    if area != vcpu.fpu:
        vcpu.set_fpu(bytes(area))


def _tags(area: bytes) -> int:
    """The tag word as fnstenv stores it: of each register, by number, 0 valid, 1 zero, 2 special, 3 empty."""
    top, tags = area[3] >> 3 & 7, 0
    kind: Callable[[bytes], int] = _kind
    for number in range(8):
        at = 32 + 16 * ((number - top) & 7)
        tags |= (kind(area[at : at + 10]) if area[4] >> number & 1 else 3) << 2 * number
    return tags


def _kind(value: bytes) -> int:
    exponent = int.from_bytes(value[8:10], "little") & 0x7FFF
    if not any(value[:8]) and exponent == 0:
        return 1
    return 0 if value[7] & 0x80 and exponent != 0x7FFF else 2
