"""A kernel's types as drgn has them, made of its BTF.  drgn is an optional dependency: `pip install xenia[drgn]`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import drgn
from drgn import Object, Program, Type, TypeEnumerator, TypeMember, TypeParameter

from xenia.toolstack.symbols.btf import BtfType

_QUALIFIERS: Final = {name: getattr(drgn.Qualifiers, name.upper()) for name in ("const", "volatile", "restrict")}
VARIABLES: Final = {  # of which BTF does not tell the types, and drgn's helpers ask for them
    "init_task": "struct task_struct", "init_pid_ns": "struct pid_namespace", "prb": "struct printk_ringbuffer *",
    "clear_seq": "struct latched_seq",
}  # fmt: skip


class DrgnTypes:
    """BTF's, as drgn has them."""

    def __init__(self, program: Program, types: list[BtfType]) -> None:
        self._program = program
        self._types = types
        self._made: dict[int, Type] = {}
        self._constants = {
            member[0]: number for number, one in enumerate(types) if one.kind == "enum" for member in one.members
        }
        self._named = {(one.kind, one.name): number for number, one in enumerate(types) if one.name}

    def find(self, _: Program, kinds: Any, name: str, filename: str | None) -> Type | None:
        """For Program.register_type_finder."""
        for kind in kinds:
            word = kind.name.lower()
            for known in (word, *{"bool": ["int"], "enum": ["enum64"]}.get(word, [])):
                if (number := self._named.get((known, name))) is not None and (made := self.type(number)).kind == kind:
                    return made
        return None

    def constant(self, name: str) -> Object | None:
        """An enumerator."""
        number = self._constants.get(name)
        if number is None:
            return None
        return Object(self._program, self.type(number), dict(self.type(number).enumerators)[name])

    def type(self, number: int) -> Type:
        """That of a number."""
        if number not in self._made:
            self._made[number] = self._make(self._types[number])
        return self._made[number]

    def _make(self, one: BtfType) -> Type:
        make, tag = self._program, one.name or None
        match one.kind:
            case "int" if one.encoding & 4:
                return make.bool_type(one.name, one.size)
            case "int":
                return make.int_type(one.name, one.size, bool(one.encoding & 1))
            case "float":
                return make.float_type(one.name, one.size)
            case "pointer":
                return make.pointer_type(self.type(one.to))
            case "array":
                return make.array_type(self.type(one.to), one.count or None)
            case "struct":
                return make.struct_type(tag, one.size, [self._member(*member) for member in one.members])
            case "union":
                return make.union_type(tag, one.size, [self._member(*member) for member in one.members])
            case "enum" | "enum64":
                base = make.int_type("int" if one.signed else "unsigned int", one.size, one.signed)
                return make.enum_type(tag, base, [TypeEnumerator(name, value) for name, value, *_ in one.members])
            case "fwd":
                return make.union_type(tag) if one.signed else make.struct_type(tag)
            case "typedef":
                return make.typedef_type(one.name, self.type(one.to))
            case "func_proto":
                return make.function_type(self.type(one.to), [TypeParameter(self.type(0))], is_variadic=True)
            case "const" | "volatile" | "restrict":
                to = self.type(one.to)
                return to.qualified(to.qualifiers | _QUALIFIERS[one.kind])
        return make.void_type()

    def _member(self, name: str, to: int, offset: int, bits: int) -> TypeMember:
        what: Callable[[], Any] = lambda: self.type(to)  # noqa: E731
        if bits:
            what = lambda: Object(self._program, self.type(to), bit_field_size=bits)  # noqa: E731
        return TypeMember(what, name or None, offset)
