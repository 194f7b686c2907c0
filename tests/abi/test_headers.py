"""Numbers and layouts of src/xenia/abi against Xen's public headers, by the compiler: one unit per header."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ABI = Path(__file__).parents[2] / "src" / "xenia" / "abi"
HEADERS = Path("/usr/include/xen")

pytestmark = [
    pytest.mark.skipif(not HEADERS.is_dir(), reason="Xen's public headers (libxen-dev) are not installed"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler"),
]

# Names of ours that are not the header's own.
RENAMED = {
    "XENMEMF_address_bits_mask": "XENMEMF_get_address_bits(-1)",
    "GNTMAP_guest_avail0": "_GNTMAP_guest_avail0",
    "HYPERVISOR_mca": "__HYPERVISOR_arch_0",
    "HYPERVISOR_paging_domctl_cont": "__HYPERVISOR_arch_1",
    "HYPERVISOR_VIRT_START": "__HYPERVISOR_VIRT_START",
    "HYPERVISOR_VIRT_END": "__HYPERVISOR_VIRT_END",
}
# Private to Xenia, or not in any public header.
OURS = {
    "PERDOMAIN_VIRT_START",
    "INVALID_M2P_ENTRY",
    "NR_EVENT_CHANNELS_2L",
    "DOMID_IDLE",
    "FIRST_RESERVED_GDT_PAGE",
    "FIRST_RESERVED_GDT_ENTRY",
    "UVMF_FLUSHTYPE_MASK",
    "UVMF_MULTI",
    "UVMF_LOCAL",
    "UVMF_ALL",
    "MMUEXT_MARK_SUPER",
    "MMUEXT_UNMARK_SUPER",
    "FLAT_RING3_CS64",
    "FLAT_RING3_CS32",
    "FLAT_RING3_SS",
    "VMASST_TYPE_m2p_strict",
    "XEN_EINTR",
}
# Structures that exist in no header under such a name, or whose fields are named otherwise there.
STRUCTS = {
    "trap_info_t": "struct trap_info",
    "mmu_update_t": "struct mmu_update",
    "mmuext_op_t": "struct mmuext_op",
    "multicall_entry_t": "struct multicall_entry",
    "iret_context_t": "struct iret_context",
    "vcpu_time_info_t": "struct vcpu_time_info",
    "arch_vcpu_info_t": "struct arch_vcpu_info",
    "vcpu_info_t": "struct vcpu_info",
    "arch_shared_info_t": "struct arch_shared_info",
    "shared_info_t": "struct shared_info",
    "grant_entry_v2_t": "union grant_entry_v2",
    "grant_entry_v2_transitive_t": "union grant_entry_v2",
}
FIELDS = {
    ("mmuext_op_t", "_pad"): None,
    ("trap_info_t", "_pad"): None,
    ("grant_entry_v2_transitive_t", "_pad"): None,
    ("vcpu_info_t", "_pad"): None,
    ("shared_info_t", "wc_sec_hi"): "xen_wc_sec_hi",
    ("evtchn_status_u", "unbound_dom"): "unbound",
    ("xen_memory_exchange_t", "in_"): "in",
    ("xen_add_to_physmap_batch_t", "u"): "u",
    ("grant_entry_v2_t", "flags"): "hdr.flags",
    ("grant_entry_v2_t", "domid"): "hdr.domid",
    ("grant_entry_v2_t", "page_off"): "sub_page.page_off",
    ("grant_entry_v2_t", "length"): "sub_page.length",
    ("grant_entry_v2_t", "frame"): "full_page.frame",
    ("grant_entry_v2_transitive_t", "flags"): "hdr.flags",
    ("grant_entry_v2_transitive_t", "domid"): "hdr.domid",
    ("grant_entry_v2_transitive_t", "trans_domid"): "transitive.trans_domid",
    ("grant_entry_v2_transitive_t", "pad0"): "transitive.pad0",
    ("grant_entry_v2_transitive_t", "gref"): "transitive.gref",
}
ONLY_OURS = {"evtchn_status_interdomain_t", "evtchn_status_u", "gnttab_copy_u", "gnttab_copy_ptr_t", "e820_entry_t"}

TYPES = {"char": "char", "void": "void"}


def sources() -> Iterator[Path]:
    yield from (path for path in sorted(ABI.glob("*.pxd")) if (HEADERS / f"{path.stem}.h").exists())


def constants(text: str) -> Iterator[str]:
    for body in re.findall(r"^cdef enum:.*\n((?:[ \t]+.*\n|\n)+)", text, re.MULTILINE):
        yield from re.findall(r"^\s+(\w+) = ", body, re.MULTILINE)
    yield from re.findall(r"^\s+const uint64_t (\w+) ", text, re.MULTILINE)


def structures(text: str) -> Iterator[tuple[str, str, list[tuple[str, str, str]]]]:
    """Name, kind and fields (type, name, array suffix) of each structure."""
    pattern = r"^cdef (packed struct|struct|union) (\w+):.*\n((?:[ \t]+.*\n|\n)+)"
    for kind, name, body in re.findall(pattern, text, re.MULTILINE):
        fields = []
        for line in body.splitlines():
            declaration = line.split("#")[0].strip()
            if not declaration:
                continue
            kind_of_field, names = declaration.split(maxsplit=1)
            for field in names.split(", "):
                matched = re.match(r'(\w+)((?:\[\d+\])*)(?: "\w+")?$', field)
                assert matched, line
                fields.append((kind_of_field, matched[1], matched[2]))
        yield name, kind, fields


def program(path: Path) -> str:
    """A C program that compiles exactly when every number and layout in the file is the header's."""
    text = path.read_text()
    values = dict(re.findall(r"^\s+(\w+) = ([^#\n]+)", text, re.MULTILINE))
    lines = ["#include <stddef.h>", "#include <stdint.h>", "#define __XEN_TOOLS__", "#include <xen/xen.h>"]
    lines += ["#include <xen/arch-x86/xen.h>", f"#include <xen/{path.stem}.h>"]
    defines = dict(re.findall(r"#define (XENIA_\w+)\s+(.+)", text))
    aliases = dict(re.findall(r'const uint64_t (\w+) "(\w+)"', text))
    for name in constants(text):
        if name in OURS:
            continue
        ours = defines[aliases[name]] if name in aliases else values[name]
        theirs = RENAMED.get(name, f"__{name}" if name.startswith("HYPERVISOR_") else name)
        lines.append(f'_Static_assert((long long)({theirs}) == (long long)({ours}), "{name}");')
    for name, kind, fields in structures(text):
        keyword = "union" if kind == "union" else "struct"
        packed = " __attribute__((packed))" if kind.startswith("packed") else ""
        members = " ".join(f"{c_type(kind_of_field)} {field}{suffix};" for kind_of_field, field, suffix in fields)
        lines.append(f"typedef {keyword} {{ {members} }}{packed} xenia_{name};")
        if name in ONLY_OURS:
            continue
        theirs = STRUCTS.get(name) or f"struct {name.removesuffix('_t')}"
        lines.append(f'_Static_assert(sizeof(xenia_{name}) == sizeof({theirs}), "sizeof {name}");')
        for _, field, _ in fields:
            counterpart = FIELDS.get((name, field), field)
            if counterpart and not field.startswith("arg"):
                same = f"offsetof(xenia_{name}, {field}) == offsetof({theirs}, {counterpart})"
                lines.append(f'_Static_assert({same}, "{name}.{field}");')
    return "\n".join(lines) + "\n"


def c_type(name: str) -> str:
    if name in TYPES or re.fullmatch(r"u?int\d+_t", name):
        return name
    return f"xenia_{name}"


@pytest.mark.parametrize("path", list(sources()), ids=lambda path: path.stem)
def test_numbers_and_layouts_are_those_of_the_public_header(path: Path, tmp_path: Path) -> None:
    unit = tmp_path / f"{path.stem}.c"
    unit.write_text(program(path))
    command = ["cc", "-fsyntax-only", "-std=gnu11", str(unit)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    failures = re.findall(r"(?:error|static assertion failed).*", result.stderr)
    assert result.returncode == 0, "\n".join(failures)
