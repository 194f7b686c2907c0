"""Numbers and layouts of src/xenia/abi against Xen's public headers, by the compiler: one unit per header."""

import importlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import abi

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
    "BLKIF_SECTOR_SIZE",
    "MAGIC",
    "NOTE_NAME",
    "LEGACY_SECTION",
    "XEN_NETIF_EXTRA_TYPE_XDP",  # of Linux's header only
    "XEN_NETIF_MAX_XDP_HEADROOM",
}
# Files of ours that are about a part of another's header, and what a header needs that it does not include.
NAMED = {"start_info": "xen", "p9": "9pfs"}
NEEDED = {"blkif": ["io/protocols.h"]}
# A ring's head exists as a macro only, which ends with the first entry.
MADE = {"ring": "DEFINE_RING_TYPES(probe, uint32_t, uint32_t);"}
SIZES = {"sring_t": "offsetof(struct probe_sring, ring)"}
# Structures that exist in no header under such a name, or whose fields are named otherwise there.
STRUCTS = {
    "sring_t": "struct probe_sring",
    "xen_9pfs_data_intf_t": "struct xen_9pfs_data_intf",
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
    ("sring_t", "pvt"): "pvt.pvt_pad",
    ("sring_t", "_pad"): "__pad",
    ("mmuext_op_t", "_pad"): None,
    ("trap_info_t", "_pad"): None,
    ("grant_entry_v2_transitive_t", "_pad"): None,
    ("vcpu_info_t", "_pad"): None,
    ("start_info_t", "console_mfn"): "console.domU.mfn",
    ("start_info_t", "console_evtchn"): "console.domU.evtchn",
    ("xencons_interface_t", "in_"): "in",
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
ONLY_OURS = {
    "evtchn_status_interdomain_t", "evtchn_status_u", "gnttab_copy_u", "gnttab_copy_ptr_t", "e820_entry_t",
    "netif_extra_gso_t", "netif_extra_mcast_t", "netif_extra_hash_t", "netif_extra_xdp_t",
    "netif_extra_u",
}  # fmt: skip

TYPES = {"char": "char", "void": "void"}


def header(name: str) -> str:
    """The header that a file of ours is about."""
    name = NAMED.get(name, name)
    return f"io/{name}.h" if (HEADERS / "io" / f"{name}.h").exists() else f"{name}.h"


def structures(text: str) -> Iterator[tuple[str, str, list[tuple[str, str, str]]]]:
    """Name, kind and fields (type, name, array suffix) of each structure."""
    for layout in abi.layouts(text):
        fields = [(field.type, field.name, f"[{field.length}]" if field.length else "") for field in layout.fields]
        yield layout.name, layout.kind, fields


def program(path: Path) -> str:
    """A C program that compiles exactly when every number and layout in the file is the header's."""
    text = path.read_text()
    values = abi.constants(text) | abi.defined(text)
    lines = ["#include <stddef.h>", "#include <stdint.h>", "#define __XEN_TOOLS__", "#include <xen/xen.h>"]
    lines += ["#include <errno.h>", "#include <string.h>", "#include <xen/arch-x86/xen.h>"]
    lines += [f"#include <xen/{each}>" for each in (*NEEDED.get(path.stem, ()), header(path.stem))]
    lines.append(MADE.get(path.stem, ""))
    for name, ours in values.items():
        if name in OURS:
            continue
        theirs = RENAMED.get(name, f"__{name}" if name.startswith("HYPERVISOR_") else name)
        theirs = theirs.removeprefix("XSD_") if path.stem == "xs_wire" else theirs
        if ours.startswith('"'):
            lines.append(f'_Static_assert(!__builtin_strcmp({theirs}, {ours}), "{name}");')
            continue
        lines.append(f'_Static_assert((long long)({theirs}) == (long long)({ours}), "{name}");')
    for name, kind, fields in structures(text):
        keyword = "union" if kind == "union" else "struct"
        packed = " __attribute__((packed))" if kind.startswith("packed") else ""
        members = " ".join(f"{c_type(kind_of_field)} {field}{suffix};" for kind_of_field, field, suffix in fields)
        lines.append(f"typedef {keyword} {{ {members} }}{packed} xenia_{name};")
        if name in ONLY_OURS:
            continue
        theirs = STRUCTS.get(name) or f"struct {name.removesuffix('_t')}"
        lines.append(f'_Static_assert(sizeof(xenia_{name}) == {SIZES.get(name, f"sizeof({theirs})")}, "{name}");')
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


@pytest.mark.parametrize("path", sorted(ABI.glob("[!_]*.pxd")), ids=lambda path: path.stem)
def test_numbers_and_layouts_are_those_of_the_public_header(path: Path, tmp_path: Path) -> None:
    unit = tmp_path / f"{path.stem}.c"
    unit.write_text(program(path))
    command = ["cc", "-fsyntax-only", "-std=gnu11", str(unit)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    failures = re.findall(r"(?:error|static assertion failed).*", result.stderr)
    assert result.returncode == 0, "\n".join(failures)


def test_what_python_has_is_what_the_pxd_says() -> None:
    assert [path.name for path, _ in abi.outdated()] == [], "run python scripts/abi.py"


def test_python_lays_structures_out_as_the_compiler_does(tmp_path: Path) -> None:
    unit, known = tmp_path / "sizes.c", []
    lines = ["#include <stdint.h>"]
    for path in sorted(ABI.glob("[!_]*.pxd")):
        module = importlib.import_module(f"xenia.abi.{path.stem}")
        for name, kind, fields in structures(path.read_text()):
            members = " ".join(f"{c_type(type_)} {field}{suffix};" for type_, field, suffix in fields)
            keyword = "union" if kind == "union" else "struct"
            packed = " __attribute__((packed))" if kind.startswith("packed") else ""
            lines.append(f"typedef {keyword} {{ {members} }}{packed} xenia_{name};")
            if kind != "union":
                size = getattr(module, name.removesuffix("_t").upper()).size
                lines.append(f'_Static_assert(sizeof(xenia_{name}) == {size}, "{name}");')
                known.append(name)
    unit.write_text("\n".join(lines) + "\n")
    command = ["cc", "-fsyntax-only", "-std=gnu11", str(unit)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, "\n".join(re.findall(r"(?:error|static assertion failed).*", result.stderr))
    assert len(known) > 60
