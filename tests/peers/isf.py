"""A kernel's types and symbols as volatility3 has them (its Intermediate Symbol Format)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from xenia.toolstack.symbols.btf import BtfType

_SEEN_THROUGH = ("typedef", "const", "volatile", "restrict", "type_tag")
_STRUCTS = {
    "init_task": "task_struct",
    "init_pid_ns": "pid_namespace",
    "init_mm": "mm_struct",
    "init_files": "files_struct",
}


class _Types:
    def __init__(self, types: list[BtfType]) -> None:
        self._types = types

    def name(self, number: int) -> str:
        return self._types[number].name or f"unnamed_{number:x}"

    def of(self, number: int) -> dict[str, Any]:
        one = self._types[number]
        match one.kind:
            case "int" | "float":
                return {"kind": "base", "name": one.name}
            case "pointer":
                return {"kind": "pointer", "subtype": self.of(one.to)}
            case "array":
                return {"kind": "array", "count": one.count, "subtype": self.of(one.to)}
            case "struct" | "union":
                return {"kind": one.kind, "name": self.name(number)}
            case "fwd":
                return {"kind": "struct", "name": one.name}
            case "enum" | "enum64":
                return {"kind": "enum", "name": self.name(number)}
            case "func_proto":
                return {"kind": "function"}
        return self.of(one.to) if one.kind in _SEEN_THROUGH else {"kind": "base", "name": "void"}

    def fields(self, one: BtfType) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for i, (name, to, offset, bits) in enumerate(one.members):
            kind = self.of(to)
            if bits:
                kind = {"kind": "bitfield", "bit_position": offset % 8, "bit_length": bits, "type": kind}
            found[name or f"unnamed_field_{i}"] = {"type": kind, "offset": offset // 8} | (
                {} if name else {"anonymous": True}
            )
        return found

    def enum(self, one: BtfType) -> dict[str, Any]:
        base = "int" if one.signed else "unsigned int"
        return {"size": one.size, "base": base, "constants": {name: value for name, value, *_ in one.members}}


def isf(types: list[BtfType], symbols: Mapping[str, int], banner: bytes) -> dict[str, Any]:
    """The file, as JSON can say it; `banner` is what linux_banner has in it."""
    known = _Types(types)
    base: dict[str, Any] = {
        one.name: {
            "size": one.size, "signed": bool(one.encoding & 1), "endian": "little",
            "kind": {"float": "float"}.get(one.kind, {2: "char", 4: "bool"}.get(one.encoding, "int")),
        }
        for one in types if one.kind in ("int", "float")
    }  # fmt: skip
    base["char"] = {"size": 1, "signed": True, "kind": "char", "endian": "little"}
    base["void"] = {"size": 0, "signed": False, "kind": "void", "endian": "little"}
    base["pointer"] = {"size": 8, "signed": False, "kind": "int", "endian": "little"}
    named: dict[str, Any] = {
        name: {"address": address} | ({"type": {"kind": "struct", "name": _STRUCTS[name]}} if name in _STRUCTS else {})
        for name, address in symbols.items()
    }
    named["linux_banner"] |= {
        "type": {"kind": "array", "count": len(banner), "subtype": {"kind": "base", "name": "char"}},
        "constant_data": base64.b64encode(banner).decode(),
    }
    producer = {"name": "tests", "version": "1"}
    return {
        "metadata": {"format": "6.2.0", "producer": producer, "linux": {"symbols": [], "types": []}},
        "base_types": base,
        "user_types": {
            known.name(number): {"size": one.size, "kind": one.kind, "fields": known.fields(one)}
            for number, one in enumerate(types) if one.kind in ("struct", "union")
        },
        "enums": {
            known.name(number): known.enum(one) for number, one in enumerate(types) if one.kind in ("enum", "enum64")
        },
        "symbols": named,
    }  # fmt: skip
