"""The start of day is as public/xen.h describes it, checked by walking what was built."""

import random
from array import array

import pytest

from xenia.abi.elfnote import ElfNote
from xenia.abi.start_info import START_INFO
from xenia.domain.build.elf import ElfKernel, load_elf
from xenia.domain.build.start_of_day import StartOfDay, build, plan, smallest_memory
from xenia.errors import ConfigError
from xenia.testing.kernels import elf_image, note

PAGE = 4096
BASE = 0xFFFF_FFFF_8000_0000
TEXT = bytes(range(256)) * 20
INVALID = (1 << 64) - 1
RAMDISK = b"initrd" * 1000
FIELDS = [
    "magic", "nr_pages", "shared_info", "flags", "store_mfn", "store_evtchn", "console_mfn", "console_evtchn",
    "pt_base", "nr_pt_frames", "mfn_list", "mod_start", "mod_len", "cmd_line", "first_p2m_pfn", "nr_p2m_frames",
]  # fmt: skip


def make_kernel(*extra: bytes, base: int = BASE) -> ElfKernel:
    notes = [note(ElfNote.VIRT_BASE, base), note(ElfNote.ENTRY, base + 0x10_0000), *extra]
    return load_elf(elf_image([(0x10_0000, TEXT, 0x4001)], notes), "k")


LINUX_LIKE = (note(ElfNote.INIT_P2M, 0x80_0000_0000), note(ElfNote.MOD_START_PFN, 1, size=4))


class Built:
    """A domain built in scattered frames, read back as a guest would: through its page tables."""

    def __init__(
        self, kernel: ElfKernel, ramdisk: bytes = RAMDISK, command_line: str = "quiet", nr_pages: int = 4096 + 7
    ) -> None:
        self.nr_pages = nr_pages
        self.nr_frames = self.nr_pages + 500
        mfns = list(range(100, self.nr_frames))
        random.Random(1).shuffle(mfns)
        self.frames = array("Q", mfns[: self.nr_pages])
        self.memory = memoryview(bytearray(self.nr_frames * PAGE))
        self.m2p = array("Q", [INVALID]) * self.nr_frames
        self.start: StartOfDay = build(
            kernel, plan(kernel, len(ramdisk), self.nr_pages), self.frames, self.memory, memoryview(self.m2p),
            ramdisk=ramdisk, command_line=command_line, shared_info_maddr=0x5000, store_port=1, console_port=2,
        )  # fmt: skip

    def words(self, mfn: int) -> memoryview:
        return self.memory[mfn * PAGE : (mfn + 1) * PAGE].cast("Q")

    def entry(self, va: int) -> int:
        """The L1 entry that maps va, 0 if nothing does."""
        mfn = self.start.root_mfn
        for shift in (39, 30, 21):
            entry = self.words(mfn)[va >> shift & 511]
            if not entry & 1:
                return 0
            assert entry & 0xFFF == 0x63
            mfn = entry >> 12
        return self.words(mfn)[va >> 12 & 511]

    def read(self, va: int, length: int) -> bytes:
        result = b""
        while length:
            piece = min(length, PAGE - va % PAGE)
            entry = self.entry(va)
            assert entry & 1, hex(va)
            at = (entry >> 12) * PAGE + va % PAGE
            result += bytes(self.memory[at : at + piece])
            va, length = va + piece, length - piece
        return result

    def start_info(self) -> dict[str, int | bytes]:
        return dict(zip(FIELDS, START_INFO.unpack(self.read(self.start.rsi, START_INFO.size)), strict=True))


@pytest.fixture(scope="module", params=["plain", "linux"])
def built(request: pytest.FixtureRequest) -> Built:
    return Built(make_kernel(*(LINUX_LIKE if request.param == "linux" else ())))


def test_the_image_is_at_its_virtual_address_with_zeros_behind_it(built: Built) -> None:
    assert built.read(BASE + 0x10_0000, len(TEXT)) == TEXT
    assert built.read(BASE + 0x10_0000 + len(TEXT), 0x4001 - len(TEXT)) == bytes(0x4001 - len(TEXT))


def test_start_info_describes_the_domain(built: Built) -> None:
    info = built.start_info()
    where = built.start.plan
    assert info["magic"] == b"xen-3.0-x86_64".ljust(32, b"\0")
    assert info["nr_pages"] == built.nr_pages
    assert info["shared_info"] == 0x5000
    assert (info["store_mfn"], info["store_evtchn"]) == (built.start.store_mfn, 1)
    assert (info["console_mfn"], info["console_evtchn"]) == (built.start.console_mfn, 2)
    assert (info["pt_base"], info["nr_pt_frames"]) == (where.tables.va, where.tables.count)
    assert info["mod_len"] == len(RAMDISK)
    assert info["cmd_line"] == b"quiet".ljust(1024, b"\0")


def test_the_bootstrap_elements_are_packed_in_xens_order_on_their_own_pages(built: Built) -> None:
    where = built.start.plan
    order = [where.kernel, where.ramdisk, where.p2m, where.start_info, where.store, where.console, where.tables]
    inside = [extent for extent in [*order, where.stack] if extent.count and extent.pfn < where.region.count]
    assert [extent.pfn for extent in inside[1:]] == [extent.end for extent in inside[:-1]]
    assert all(extent.va == BASE + extent.pfn * PAGE for extent in inside)


def test_the_region_maps_the_first_frames_one_to_one_and_ends_on_4_mb_with_512_kb_of_padding(built: Built) -> None:
    region = built.start.plan.region
    end = BASE + region.count * PAGE
    assert end % (4 << 20) == 0
    assert end - (built.start.plan.stack.va + PAGE) >= 512 << 10
    assert [built.entry(BASE + pfn * PAGE) >> 12 for pfn in range(region.count)] == list(built.frames[: region.count])
    if end < 1 << 64:
        assert built.entry(end) == 0


def test_only_page_tables_are_read_only_and_nothing_is_open_to_user_mode(built: Built) -> None:
    where = built.start.plan
    for pfn in range(where.region.count):
        writable = built.entry(BASE + pfn * PAGE) & 0xFFF
        assert writable == (0x21 if where.tables.pfn <= pfn < where.tables.end else 0x23)


def test_the_page_tables_named_are_those_the_walk_finds(built: Built) -> None:
    found = [built.start.root_mfn]
    level = [built.start.root_mfn]
    for _ in range(3):
        level = [entry >> 12 for mfn in level for entry in built.words(mfn) if entry & 1]
        found += level
    assert sorted(found) == sorted(built.start.table_mfns)


def test_the_p2m_list_and_the_m2p_are_each_others_inverse(built: Built) -> None:
    info = built.start_info()
    assert array("Q", built.read(int(info["mfn_list"]), built.nr_pages * 8)) == built.frames
    assert all(built.m2p[mfn] == pfn for pfn, mfn in enumerate(built.frames))
    assert sum(pfn != INVALID for pfn in built.m2p) == built.nr_pages


def test_registers_are_as_the_abi_says(built: Built) -> None:
    start = built.start
    assert (start.rip, start.cs, start.ss, start.rflags) == (BASE + 0x10_0000, 0xE033, 0xE02B, 0x200)
    assert start.rsp == start.plan.stack.va + PAGE
    assert start.rsi == start.plan.start_info.va


def test_the_ramdisk_is_mapped_behind_the_kernel_unless_the_kernel_takes_a_pfn() -> None:
    built = Built(make_kernel())
    info = built.start_info()
    assert info["flags"] == 16
    assert built.read(int(info["mod_start"]), len(RAMDISK)) == RAMDISK


def test_with_mod_start_pfn_the_ramdisk_lies_unmapped_behind_the_region() -> None:
    built = Built(make_kernel(*LINUX_LIKE))
    info = built.start_info()
    assert info["flags"] == 16 | 8
    pfn = int(info["mod_start"])
    assert pfn >= built.start.plan.region.count
    frames = [built.frames[pfn + i] for i in range(2)]
    assert b"".join(bytes(built.memory[mfn * PAGE : (mfn + 1) * PAGE]) for mfn in frames)[: len(RAMDISK)] == RAMDISK


def test_without_a_ramdisk_start_info_names_none() -> None:
    info = Built(make_kernel(*LINUX_LIKE), ramdisk=b"").start_info()
    assert (info["mod_start"], info["mod_len"], info["flags"]) == (0, 0, 16)


def test_a_p2m_list_at_init_p2m_is_writable_there_and_its_frames_are_named() -> None:
    built = Built(make_kernel(*LINUX_LIKE))
    info = built.start_info()
    where = built.start.plan
    assert info["mfn_list"] == 0x80_0000_0000
    assert built.entry(0x80_0000_0000) & 0xFFF == 0x23
    assert (info["first_p2m_pfn"], info["nr_p2m_frames"]) == (where.p2m.pfn, where.p2m.count)
    assert where.p2m_tables.end == where.p2m.end


def test_an_init_p2m_in_reach_of_the_regions_own_tables_shares_them() -> None:
    near = BASE + (64 << 20)
    built = Built(make_kernel(note(ElfNote.INIT_P2M, near)))
    assert built.start.plan.p2m_tables.count == 1
    assert array("Q", built.read(near, built.nr_pages * 8)) == built.frames


def test_a_kernel_at_virtual_address_0_is_built_there() -> None:
    built = Built(make_kernel(base=0))
    assert built.read(0x10_0000, len(TEXT)) == TEXT


def test_the_hypercall_page_is_filled_where_a_note_asks_for_it() -> None:
    page = BASE + 0x10_2000
    built = Built(make_kernel(note(ElfNote.HYPERCALL_PAGE, page)))
    assert built.read(page + 29 * 32, 14) == bytes.fromhex("51 4153 b81d000000 0f05 415b 59 c3")
    assert built.read(page + 23 * 32, 11) == bytes.fromhex("51 4153 50 b817000000 0f05")


def test_what_does_not_fit_behind_the_region_goes_below_the_image_with_its_tables_read_only() -> None:
    notes = [note(ElfNote.VIRT_BASE, BASE), note(ElfNote.ENTRY, BASE + 0x40_0000), *LINUX_LIKE]
    kernel = load_elf(elf_image([(0x40_0000, TEXT, 0x4001)], notes), "k")
    built = Built(kernel, nr_pages=2048)
    where = built.start.plan
    assert where.region.count == 2048
    assert 256 <= where.ramdisk.pfn < where.ramdisk.end <= where.p2m.pfn < where.p2m.end <= where.kernel.pfn
    assert built.read(BASE + where.ramdisk.pfn * PAGE, len(RAMDISK)) == RAMDISK
    assert array("Q", built.read(0x80_0000_0000, built.nr_pages * 8)) == built.frames
    flags = [built.entry(BASE + pfn * PAGE) & 0xFFF for pfn in range(where.p2m.pfn, where.p2m.end)]
    assert flags == [0x23] * (where.p2m.count - where.p2m_tables.count) + [0x21] * where.p2m_tables.count


def test_too_little_memory_is_refused_and_says_how_much_is_needed() -> None:
    with pytest.raises(ConfigError, match="need 5 MB of memory to start; the domain has 4 MB"):
        plan(make_kernel(*LINUX_LIKE), len(RAMDISK), 1024)


def test_the_smallest_memory_is_the_least_that_can_be_planned() -> None:
    kernel = make_kernel(*LINUX_LIKE)
    smallest = smallest_memory(kernel, len(RAMDISK))
    assert smallest == 5 * 256
    plan(kernel, len(RAMDISK), smallest)
    with pytest.raises(ConfigError):
        plan(kernel, len(RAMDISK), smallest - 256)


def test_a_command_line_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="1024 bytes long; at most 1023 fit"):
        Built(make_kernel(), command_line="x" * 1024)


@pytest.mark.parametrize("base", [0xFFFF_8000_0000_0000, 0xFFFF_87FF_FFF0_0000, 1 << 47, (1 << 47) - (1 << 20)])
def test_a_region_in_the_hypervisors_range_or_off_the_address_space_is_refused(base: int) -> None:
    with pytest.raises(ConfigError, match="which no PV guest can have"):
        plan(make_kernel(base=base), 0, 4096)


def test_a_p2m_list_inside_the_region_is_refused() -> None:
    with pytest.raises(ConfigError, match="inside its initial mapping"):
        plan(make_kernel(note(ElfNote.INIT_P2M, BASE + 0x20_0000)), 0, 4096)


@pytest.mark.parametrize("nr_pages", [2048, 16384, 65536, 2 << 20])
def test_every_memory_size_plans_exactly_the_tables_it_needs(nr_pages: int) -> None:
    where = plan(make_kernel(), 0, nr_pages)
    nr_l1 = -(-where.region.count // 512)
    assert where.tables.count == nr_l1 + 3
