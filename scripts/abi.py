"""Writes src/xenia/abi/*.py and machine/paging.py from the .pxd beside each: `python scripts/abi.py`; --check compares.

The .pxd is what compiled code sees of a public header, and Python sees the same: numbers under Xen's own names, or as
an enumeration where CLASSES says so, and the layout of each structure as a struct.Struct, padding and all.
tests/abi/test_headers.py holds the .pxd against the headers.
"""

import re
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "src" / "xenia"
ABI = PACKAGE / "abi"
SOURCES = [*sorted(ABI.glob("[!_]*.pxd")), PACKAGE / "machine" / "paging.pxd"]

# Numbers that are an enumeration: their prefix, the class, and whether they are flags.
CLASSES = {
    "blkif": [("BLKIF_OP_", "Operation", False), ("BLKIF_RSP_", "Status", False), ("VDISK_", "Info", True)],
    "elfnote": [("XEN_ELFNOTE_", "ElfNote", False)],
    "errno": [("XEN_", "Errno", False)],
    "features": [("XENFEAT_", "Feature", False)],
    "netif": [
        ("NETTXF_", "TxFlags", True),
        ("NETRXF_", "RxFlags", True),
        ("NETIF_RSP_", "Status", False),
        ("XEN_NETIF_EXTRA_TYPE_", "ExtraType", False),
        ("XEN_NETIF_GSO_TYPE_", "GsoType", False),
        ("XEN_NETIF_CTRL_HASH_TYPE_", "HashTypes", True),
        ("XEN_NETIF_CTRL_HASH_ALGORITHM_", "HashAlgorithm", False),
        ("XEN_NETIF_CTRL_TYPE_", "ControlType", False),
        ("XEN_NETIF_CTRL_STATUS_", "ControlStatus", False),
    ],
    "xen": [("HYPERVISOR_", "Hypercall", False), ("SIF_", "StartFlags", True)],
    "xenbus": [("XenbusState", "XenbusState", False)],
    "xs_wire": [
        ("XS_", "MessageType", False),
        ("XSD_", "XsdError", False),
        ("XENSTORE_SERVER_FEATURE_", "ServerFeature", True),
        ("XENSTORE_ERROR_", "RingError", False),
    ],
}
# The values of a word of the store's page, which have a prefix in common with other things.
MEMBERS = {"XENSTORE_CONNECTED": "ConnectionState", "XENSTORE_RECONNECT": "ConnectionState"}
# Structures that are a page, whose fields are reached one by one: their offsets are written too.
PAGES = {"xencons_interface_t", "xenstore_domain_interface_t"}
# Strings that are found in memory, not in the store or in a file's names.
BYTES = {"MAGIC", "NOTE_NAME"}
CODES = {"char": "b"} | {
    f"{sign}int{bits}_t": code.upper() if sign else code
    for bits, code in ((8, "b"), (16, "h"), (32, "i"), (64, "q"))
    for sign in ("", "u")
}


@dataclass(frozen=True)
class Field:
    """A field of a structure; `length` 0 for one that is no array."""

    type: str
    name: str
    length: int


@dataclass(frozen=True)
class Layout:
    """A structure or union as C lays it out."""

    name: str
    kind: str  # struct, packed struct, union
    fields: tuple[Field, ...]


def constants(text: str) -> dict[str, str]:
    """Each number of a .pxd, in its order, as it is written there."""
    found: dict[str, str] = {}
    for body in re.findall(r"^cdef enum:.*\n((?:[ \t]+.*\n|\n)+)", text, re.MULTILINE):
        found |= dict(re.findall(r"^\s+(\w+) = ([^#\n]+?)[ \t]*(?:#.*)?$", body, re.MULTILINE))
    return found


def defined(text: str) -> dict[str, str]:
    """Each constant that is no int in C: a wide number or a string."""
    defines = dict(re.findall(r"#define (XENIA_\w+)\s+(.*?)\s*(?:/\*.*)?$", text, re.MULTILINE))
    return {name: defines[alias] for name, alias in re.findall(r'const (?:uint64_t |char \*)(\w+) "(\w+)"', text)}


def layouts(text: str) -> Iterator[Layout]:
    """Each structure of a .pxd."""
    values = constants(text)
    pattern = r"^cdef (packed struct|struct|union) (\w+):.*\n((?:[ \t]+.*\n|\n)+)"
    for kind, name, body in re.findall(pattern, text, re.MULTILINE):
        fields = []
        for line in body.splitlines():
            declaration = line.split("#")[0].strip()
            if not declaration:
                continue
            type_, names = declaration.split(maxsplit=1)
            for field in names.split(", "):
                matched = re.fullmatch(r'(\w+)(?: "\w+")?(?:\[(\w+)\])?', field)
                assert matched, line
                length = matched[2] or "0"
                fields.append(Field(type_, matched[1], int(values.get(length, length), 0)))
        yield Layout(name, kind, tuple(fields))


def written(source: Path) -> str:
    """The text of the .py beside a .pxd."""
    name, text = source.stem, source.read_text()
    head, _, _ = text.partition("\n")
    numbers, known = constants(text), {layout.name: layout for layout in layouts(text)}
    remarks = {key: f"  # {remark}" for key, remark in re.findall(r"^\s+(\w+) = [^#\n]+#\s*(.*)$", text, re.MULTILINE)}
    members: dict[tuple[str, bool, str], dict[str, str]] = {}
    plain = {}
    for constant, value in numbers.items():
        classes = CLASSES.get(name, [])
        prefix, name_of_class, flags = next(
            (each for each in sorted(classes, key=lambda each: -len(each[0])) if constant.startswith(each[0])),
            ("XENSTORE_", MEMBERS.get(constant, ""), False),
        )
        if name_of_class:
            members.setdefault((name_of_class, flags, prefix), {})[constant] = value
        else:
            plain[constant] = value
    body = []
    for (name_of_class, flags, prefix), values in members.items():
        body += ["", "", f"class {name_of_class}({'IntFlag' if flags else 'IntEnum'}):", f'    """{prefix}*."""', ""]
        body += [f"    {member(key, prefix)} = {value}{remarks.get(key, '')}" for key, value in values.items()]
    body += ["", ""] if body else []
    body += [f"{key}: Final = {spelled(key, value)}{remarks.get(key, '')}" for key, value in plain.items()]
    body += [f"{key}: Final = {spelled(key, value)}" for key, value in defined(text).items()]
    if known:
        body.append("")
    for layout in known.values():
        if layout.kind != "union":
            form = format_of(layout, known)
            own = layout.name.removesuffix("_t").upper()
            body.append(f'{own}: Final = Struct("<{form}")  # {", ".join(field.name for field in layout.fields)}')
        if layout.name in PAGES:
            body += offsets(layout, known)
    code = "\n".join(body)
    kinds = [kind for kind in ("IntEnum", "IntFlag") if kind in code]
    imports = [f"from enum import {', '.join(kinds)}"] if kinds else []
    imports += ["from struct import Struct"] if "Struct(" in code else []
    imports += ["from typing import Final"] if "Final" in code else []
    opening = f'"""{head.lstrip("# ").rstrip(".")}.\n\nWritten by scripts/abi.py from {name}.pxd: do not edit.\n"""\n\n'
    wrapped = "\n".join(wrap(line) for line in code.splitlines())
    return f"{opening}{chr(10).join(imports)}\n\n{wrapped.strip() if not members else chr(10) + wrapped.strip()}\n"


def wrap(line: str) -> str:
    """What a layout's fields are called goes before it where it does not fit behind it."""
    if len(line) <= 120 or "  # " not in line:
        return line
    code, _, names = line.partition("  # ")
    lines, current = [], "#"
    for each in names.split(" "):
        if len(f"{current} {each}") > 120:
            lines.append(current)
            current = "#"
        current += f" {each}"
    return "\n".join([*lines, current, code])


def member(constant: str, prefix: str) -> str:
    """A member's name: without the prefix, in capitals; a feature's name is what a kernel's note says."""
    rest = constant.removeprefix(prefix)
    if prefix == "XENFEAT_":
        return rest
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", rest).upper()


def spelled(name: str, value: str) -> str:
    """A number or a string as Python writes it."""
    if value.startswith('"'):
        text = value.strip('"').replace("\\\\", "\\")
        return f'b"{text}"' if name in BYTES else f'"{text}"'
    if value == "(~0ULL)":
        return "(1 << 64) - 1"
    number = value.replace("ULL", "").strip("()")
    if number.startswith("~"):  # which has no end in Python
        return f"{number} & (1 << 64) - 1"
    if number.lower().startswith("0x"):
        return f"0x{number[2:].upper()}"
    return number


def align_of(type_: str, known: dict[str, Layout]) -> int:
    """The alignment of a type."""
    if type_ in known:
        if known[type_].kind.startswith("packed"):
            return 1
        return max(align_of(field.type, known) for field in known[type_].fields)
    return struct.calcsize(CODES[type_])


def size_of(type_: str, known: dict[str, Layout]) -> int:
    """The size of a type."""
    if type_ not in known:
        return struct.calcsize(CODES[type_])
    if known[type_].kind == "union":
        largest = max(size_of(field.type, known) * max(field.length, 1) for field in known[type_].fields)
        return -largest % align_of(type_, known) + largest
    return struct.calcsize("<" + format_of(known[type_], known))


def format_of(layout: Layout, known: dict[str, Layout]) -> str:
    """The structure as the struct module packs it, without the byte order; a union is so many bytes."""
    form, at = "", 0
    packed = layout.kind.startswith("packed")
    for field in layout.fields:
        padding = 0 if packed else -at % align_of(field.type, known)
        size = size_of(field.type, known)
        at += padding + size * max(field.length, 1)
        form += "x" * padding if padding < 3 else f"{padding}x"
        if field.type in known:
            inner = known[field.type]
            whole = inner.kind != "union" and not field.length  # else so many bytes
            form += format_of(inner, known) if whole else f"{size * max(field.length, 1)}s"
        elif field.length and size == 1:
            form += f"{field.length}s"
        else:
            form += f"{field.length or ''}{CODES[field.type]}"
    padding = 0 if packed else -at % align_of(layout.name, known)
    return form + (f"{padding}x" if padding else "")


def offsets(layout: Layout, known: dict[str, Layout]) -> Iterator[str]:
    """Where each field of a page is, how large its rings are, and where it ends."""
    at = 0
    for field in layout.fields:
        name = field.name.strip("_").upper()
        at += -at % align_of(field.type, known)
        yield f"{name}_OFFSET: Final = {at}"
        if field.length:
            yield f"{name}_SIZE: Final = {field.length}"
        at += size_of(field.type, known) * max(field.length, 1)
    yield f"INTERFACE_SIZE: Final = {at}"


def outdated() -> Iterator[tuple[Path, str]]:
    """Each file that is not what it should be, and that."""
    for source in SOURCES:
        path, text = source.with_suffix(".py"), written(source)
        if not path.exists() or path.read_text() != text:
            yield path, text


def main() -> None:
    """Write, or compare."""
    files = list(outdated())
    if "--check" not in sys.argv[1:]:
        for path, text in files:
            path.write_text(text)
    elif files:
        names = ", ".join(path.name for path, _ in files)
        raise SystemExit(f"not what their .pxd say (run python scripts/abi.py): {names}")


if __name__ == "__main__":
    main()
