"""ELF kernels and their words to Xen, by the rules of public/elfnote.h."""

import struct
from struct import pack

import pytest
from hypothesis import given, strategies as st

from xenia.abi.elfnote import ElfNote
from xenia.domain.build.elf import ElfFile, load_elf, read_notes, why_not_pv
from xenia.domain.build.notes import KernelNotes
from xenia.errors import ConfigError
from xenia.testing.kernels import MACHINE_386, elf_image, note

BASE = 0xFFFF_FFFF_8000_0000
IMAGE = [(0x100_0000, b"\x90" * 0x1000, 0x3000)]
PV_NOTES = [
    note(ElfNote.GUEST_OS, "linux"),
    note(ElfNote.XEN_VERSION, "xen-3.0"),
    note(ElfNote.VIRT_BASE, BASE),
    note(ElfNote.ENTRY, BASE + 0x100_0040),
    note(ElfNote.FEATURES, "!writable_page_tables|pae_pgdir_above_4gb"),
    note(ElfNote.LOADER, "generic"),
]


def notes_of(data: bytes) -> KernelNotes:
    notes = read_notes(ElfFile(data, "k"))
    assert notes is not None
    return notes


def legacy(text: str) -> bytes:
    section = ("__xen_guest", text.encode() + b"\0")
    return elf_image([(BASE, b"\x90" * 0x1000, 0x2000)], sections=[section], entry=BASE + 8)


def test_every_note_lands_in_its_field() -> None:
    notes = notes_of(
        elf_image(
            notes=[
                *PV_NOTES,
                note(ElfNote.GUEST_VERSION, "2.6"),
                note(ElfNote.HYPERCALL_PAGE, BASE + 0x100_1000),
                note(ElfNote.PADDR_OFFSET, 0),
                note(ElfNote.PAE_MODE, "yes"),
                note(ElfNote.BSD_SYMTAB, "yes"),
                note(ElfNote.HV_START_LOW, 0xFFFF_8000_0000_0000),
                note(ElfNote.L1_MFN_VALID, pack("<QQQQ", 1, 1, 3, 2)),
                note(ElfNote.SUSPEND_CANCEL, 1, size=4),
                note(ElfNote.INIT_P2M, 0x80_0000_0000),
                note(ElfNote.MOD_START_PFN, 1, size=4),
                note(ElfNote.SUPPORTED_FEATURES, 1 << 11 | 1 << 5, size=4),
                note(ElfNote.PHYS32_ENTRY, 0x100_0100, size=4),
                note(ElfNote.INFO, "hello=world"),
            ]
        )
    )
    assert notes == KernelNotes(
        entry=BASE + 0x100_0040,
        hypercall_page=BASE + 0x100_1000,
        virt_base=BASE,
        paddr_offset=0,
        init_p2m=0x80_0000_0000,
        hv_start_low=0xFFFF_8000_0000_0000,
        phys32_entry=0x100_0100,
        mod_start_pfn=True,
        suspend_cancel=True,
        bsd_symtab=True,
        guest_os="linux",
        guest_version="2.6",
        xen_version="xen-3.0",
        loader="generic",
        pae_mode="yes",
        required=frozenset({"writable_page_tables"}),
        supported=frozenset({"writable_page_tables", "pae_pgdir_above_4gb", "dom0", "mmu_pt_update_preserve_ad"}),
        l1_mfn_valid=[(1, 1), (3, 2)],
        info=["hello=world"],
    )


def test_notes_are_found_in_a_note_section_too() -> None:
    assert notes_of(elf_image(IMAGE, PV_NOTES, note_section=True)) == notes_of(elf_image(IMAGE, PV_NOTES))


def test_notes_of_other_owners_are_passed_over() -> None:
    assert read_notes(ElfFile(elf_image(IMAGE, [note(1, 5, owner=b"GNU\0")]), "k")) is None


def test_the_region_begins_at_virt_base_and_segments_lie_where_their_physical_address_says() -> None:
    kernel = load_elf(elf_image(IMAGE, PV_NOTES), "k")
    assert (kernel.virt_base, kernel.start, kernel.end) == (BASE, BASE + 0x100_0000, BASE + 0x100_3000)
    assert kernel.entry == BASE + 0x100_0040
    (segment,) = kernel.segments
    assert (segment.offset, segment.size, len(segment.data)) == (0x100_0000, 0x3000, 0x1000)


def test_without_virt_base_the_region_begins_at_0_and_without_entry_the_elf_header_says_where_to_start() -> None:
    kernel = load_elf(elf_image([(0, b"\x90" * 64, 64)], [note(ElfNote.GUEST_OS, "GRUB")], entry=0x20), "k")
    assert (kernel.virt_base, kernel.entry, kernel.hypercall_page) == (0, 0x20, None)


def test_a_paddr_offset_note_is_taken_off_physical_addresses() -> None:
    notes = [note(ElfNote.VIRT_BASE, BASE), note(ElfNote.PADDR_OFFSET, BASE)]
    kernel = load_elf(elf_image([(BASE + 0x1000, b"x", 1)], notes, entry=BASE + 0x1000), "k")
    assert kernel.segments[0].offset == 0x1000


def test_in_a_legacy_section_paddr_offset_defaults_to_virt_base_and_the_hypercall_page_is_a_page_number() -> None:
    words = f"GUEST_OS=netbsd,XEN_VER=xen-3.0,VIRT_BASE={BASE:#x},HYPERCALL_PAGE=0x1,LOADER=generic,BSD_SYMTAB=yes"
    kernel = load_elf(legacy(words), "k")
    assert kernel.segments[0].offset == 0
    assert kernel.hypercall_page == BASE + 0x1000
    assert kernel.entry == BASE + 8
    assert kernel.notes.legacy
    assert kernel.notes.bsd_symtab


def test_notes_win_over_a_legacy_section() -> None:
    data = elf_image(IMAGE, PV_NOTES, sections=[("__xen_guest", b"GUEST_OS=old\0")])
    assert notes_of(data).guest_os == "linux"


@pytest.mark.parametrize(
    ("notes", "reason"),
    [
        ([], "no Xen notes"),
        ([note(ElfNote.GUEST_OS, "linux"), note(ElfNote.PHYS32_ENTRY, 0x100_0000)], "PVH only"),
        ([*PV_NOTES, note(ElfNote.XEN_VERSION, "xen-2.0")], "built for xen-2.0"),
        ([*PV_NOTES, note(ElfNote.LOADER, "odd")], "loader of the kind 'odd'"),
        ([*PV_NOTES, note(ElfNote.FEATURES, "!auto_translated_physmap")], "requires auto_translated_physmap"),
    ],
)
def test_a_kernel_that_cannot_run_as_a_pv_guest_says_why(notes: list[bytes], reason: str) -> None:
    data = elf_image(IMAGE, notes)
    found = why_not_pv(data, "k")
    assert found is not None
    assert reason in found
    with pytest.raises(ConfigError, match=f"k: cannot run as a PV guest: .*{reason}"):
        load_elf(data, "k")


def test_a_32_bit_kernel_says_so() -> None:
    reason = why_not_pv(elf_image(IMAGE, PV_NOTES, machine=MACHINE_386), "k")
    assert reason == "a 32-bit kernel; only 64-bit PV guests can run"


@pytest.mark.parametrize(
    ("segments", "notes", "message"),
    [
        (IMAGE, [*PV_NOTES, note(ElfNote.ENTRY, BASE)], "entry point"),
        (IMAGE, [*PV_NOTES, note(ElfNote.HYPERCALL_PAGE, BASE + 0x100_3000)], "hypercall page"),
        (IMAGE, [*PV_NOTES, note(ElfNote.HYPERCALL_PAGE, BASE + 0x100_1001)], "hypercall page"),
        (IMAGE, [*PV_NOTES, note(ElfNote.INIT_P2M, BASE + 0x100_2000)], "p2m list"),
        (IMAGE, [*PV_NOTES, note(ElfNote.VIRT_BASE, b"\0\0")], "numeric Xen note of 2 bytes"),
        (IMAGE, [note(ElfNote.GUEST_OS, "x"), note(ElfNote.PADDR_OFFSET, 0x1000)], "no VIRT_BASE"),
        ([], PV_NOTES, "without anything to load"),
        ([(0x100_0000, b"", 1 << 63)], PV_NOTES, "outside of the region"),
        ([(0x100_0000, bytes(64), 32)], PV_NOTES, "more bytes than it occupies"),
    ],
)
def test_a_contradictory_image_is_one_clear_line(
    segments: list[tuple[int, bytes, int]], notes: list[bytes], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"k: .*{message}"):
        load_elf(elf_image(segments, notes), "k")


def test_a_truncated_image_is_one_clear_line() -> None:
    data = elf_image(IMAGE, PV_NOTES)
    with pytest.raises(ConfigError, match="truncated ELF file"):
        load_elf(data[:-200], "k")


@given(data=st.data())
def test_any_damage_loads_or_is_a_config_error(data: st.DataObject) -> None:
    whole = bytearray(elf_image(IMAGE, PV_NOTES, sections=[("__xen_guest", b"GUEST_OS=x,VIRT_BASE=0x10\0")]))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1) | st.integers(0, 200))] = data.draw(st.integers(0, 255))
    try:
        load_elf(bytes(whole[: data.draw(st.integers(0, len(whole)))]), "k")
    except ConfigError as error:
        assert "\n" not in str(error)


def elf32(notes: bytes = b"", tail: bytes = b"") -> bytes:
    """A 32-bit ELF file for the 386 with a note segment, and something behind it."""
    header = struct.pack(
        "<16sHHIIIIIHHHHHH", b"\x7fELF\x01\x01\x01", 2, MACHINE_386, 1, 0, 52 if notes else 0, 0, 0, 52, 32,
        bool(notes), 0, 0, 0,
    )  # fmt: skip
    segment = struct.pack("<IIIIIIII", 4, 84, 0, 0, len(notes), len(notes), 4, 4) if notes else b""
    return header + segment + notes + tail


MULTIBOOT = bytes(28) + b"\x02\xb0\xad\x1b"


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (elf32(note(ElfNote.VIRT_BASE, 0xC000_0000, size=4)), "a 32-bit PV kernel; only 64-bit"),
        (
            elf32(tail=b"\0__xen_guest\0GUEST_OS=GNU Mach,XEN_VER=xen-3.0\0"),
            "a 32-bit PV kernel (GNU Mach); only 64-bit",
        ),
        (elf32(note(ElfNote.PHYS32_ENTRY, 0x10_0000, size=4)), "a 32-bit kernel for PVH and HVM guests only"),
        (elf32(tail=MULTIBOOT), "a 32-bit Multiboot kernel, for real machines and HVM guests"),
        (elf32(tail=b"\xff" * 40), "a 32-bit kernel for real machines and HVM guests"),
        (elf32(b"\xff" * 40), "a 32-bit kernel for real machines and HVM guests"),
        (elf32()[:30], "a 32-bit kernel for real machines and HVM guests"),
        (elf_image([(0, MULTIBOOT + bytes(4), 64)]), "a Multiboot kernel, for real machines and HVM guests"),
        (elf_image([(0, b"Linux version 6.1", 64)]), "built without CONFIG_XEN_PV"),
    ],
)
def test_a_kernel_for_other_guests_is_named(image: bytes, words: str) -> None:
    reason = why_not_pv(image, "k")
    assert reason is not None and words in reason
