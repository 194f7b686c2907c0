"""grant_table_op between two domains of one machine, as a guest makes it (public/grant_table.h)."""

from __future__ import annotations

import struct

import pytest

from tests.unit.hypercalls.hypercalls import ARGUMENT, LIST, UNMAPPED
from xenia.abi.errno import Errno
from xenia.abi.grant_table import (
    GNTTAB_MAP_GRANT_REF,
    GNTMAP_contains_pte as CONTAINS_PTE,
    GNTMAP_device_map as DEVICE,
    GNTMAP_host_map as HOST,
    GNTMAP_readonly as READONLY,
    GNTST_bad_copy_arg as BAD_COPY,
    GNTST_bad_dev_addr as BAD_DEVICE_ADDRESS,
    GNTST_bad_domain as BAD_DOMAIN,
    GNTST_bad_gntref as BAD_REF,
    GNTST_bad_handle as BAD_HANDLE,
    GNTST_bad_page as BAD_PAGE,
    GNTST_eagain as AGAIN,
    GNTST_general_error as ERROR,
    GNTST_okay as OKAY,
    GNTST_permission_denied as DENIED,
    GNTTABOP_cache_flush as CACHE_FLUSH,
    GNTTABOP_copy as COPY,
    GNTTABOP_get_status_frames as GET_STATUS_FRAMES,
    GNTTABOP_get_version as GET_VERSION,
    GNTTABOP_map_grant_ref as MAP,
    GNTTABOP_set_version as SET_VERSION,
    GNTTABOP_setup_table as SETUP,
    GNTTABOP_swap_grant_ref as SWAP,
    GNTTABOP_transfer as TRANSFER,
    GNTTABOP_unmap_and_replace as REPLACE,
    GNTTABOP_unmap_grant_ref as UNMAP,
    GTF_accept_transfer as ACCEPT,
    GTF_permit_access as PERMIT,
    GTF_reading as READING,
    GTF_readonly as GTF_READONLY,
    GTF_sub_page as SUB_PAGE,
    GTF_transfer_committed as COMMITTED,
    GTF_transfer_completed as COMPLETED,
    GTF_transitive as TRANSITIVE,
    GTF_writing as WRITING,
)
from xenia.abi.xen import DOMID_SELF, Hypercall
from xenia.testing.still import BASE, CONTINUE, PAGES, StillDomain

NO_HANDLE = 0xFFFFFFFF

MAPPING = GNTTAB_MAP_GRANT_REF.format
UNMAPPING = "<QQIhxx"
COPYING = "<QHHxxxxQHHxxxxHHhxx"
GRANTER, GRANTEE = 1, 2
REF = 9
SHARED_PAGE = 20  # data page of the granter that the tests grant
WINDOW = BASE + 25 * 4096  # page of the grantee that it maps grants at


class Pair:
    """A domain that grants and one that uses, on one machine."""

    def __init__(self, version: int = 1) -> None:
        self.granter = StillDomain(GRANTER, memory=2 << 20)
        self.grantee = StillDomain(GRANTEE, beside=self.granter)
        self.version = version
        self.table = setup(self.granter, 1)[0]
        setup(self.grantee, 1)
        if version == 2:
            self.granter.write(ARGUMENT, struct.pack("<I", 2))
            assert self.granter.call(Hypercall.GRANT_TABLE_OP, SET_VERSION, ARGUMENT, 1) == 0
            self.granter.write(ARGUMENT, struct.pack("<IHhQ", 1, DOMID_SELF, 99, LIST))
            assert self.granter.call(Hypercall.GRANT_TABLE_OP, GET_STATUS_FRAMES, ARGUMENT, 1) == 0
            self.status_frame = struct.unpack("<Q", self.granter.read(LIST, 8))[0]

    @property
    def mfn(self) -> int:
        """The frame that is granted."""
        return self.granter.mfn(SHARED_PAGE)

    def grant(self, flags: int = PERMIT, ref: int = REF, domid: int = GRANTEE, mfn: int | None = None) -> None:
        """The granter writes an entry."""
        mfn = self.mfn if mfn is None else mfn
        if self.version == 1:
            self.entry(ref)[:] = struct.pack("<HHI", flags, domid, mfn)
        else:
            self.entry(ref)[:] = struct.pack("<HHHHQ", flags, domid, 0, 0, mfn)

    def entry(self, ref: int = REF) -> memoryview:
        size = 8 if self.version == 1 else 16
        return memoryview(self.granter.machine)[(self.table << 12) + size * ref :][:size]

    def flags(self, ref: int = REF) -> int:
        """GTF_reading and GTF_writing, wherever the version has them."""
        if self.version == 1:
            return int.from_bytes(self.entry(ref)[:2], "little") & (READING | WRITING)
        place = (self.status_frame << 12) + 2 * ref
        return int.from_bytes(memoryview(self.granter.machine)[place : place + 2], "little")

    def map(
        self, flags: int = HOST, ref: int = REF, domid: int = GRANTER, address: int = WINDOW
    ) -> tuple[int, int, int]:
        """The grantee maps: status, handle, device address."""
        fields = call_one(self.grantee, MAP, MAPPING, address, flags, ref, domid, 99, 99, 99)
        return fields[4], fields[5], fields[6]

    def unmap(self, handle: int, address: int = WINDOW, device: int = 0) -> int:
        return call_one(self.grantee, UNMAP, UNMAPPING, address, device, handle, 99)[3]

    def audit(self) -> list[str]:
        return self.granter.audit() + self.grantee.audit()


def call_one(domain: StillDomain, command: int, layout: str, *fields: int) -> tuple[int, ...]:
    """One element of a list: its fields afterwards."""
    data = struct.pack(layout, *fields)
    domain.write(ARGUMENT, data)
    assert domain.call(Hypercall.GRANT_TABLE_OP, command, ARGUMENT, 1) == 0
    return struct.unpack(layout, domain.read(ARGUMENT, len(data)))


def setup(domain: StillDomain, frames: int) -> list[int]:
    domain.write(ARGUMENT, struct.pack("<HxxIhxxxxxxQ", DOMID_SELF, frames, 99, LIST))
    assert domain.call(Hypercall.GRANT_TABLE_OP, SETUP, ARGUMENT, 1) == 0
    assert struct.unpack("<h", domain.read(ARGUMENT + 8, 2))[0] == OKAY
    return list(struct.unpack(f"<{frames}Q", domain.read(LIST, 8 * frames)))


def copy(domain: StillDomain, source: tuple[int, int, int], dest: tuple[int, int, int], length: int, flags: int) -> int:
    """GNTTABOP_copy between (frame or reference, domain, offset) and another: the status."""
    return call_one(domain, COPY, COPYING, *source, *dest, length, flags, 99)[8]


@pytest.fixture(params=[1, 2])
def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair(request.param)


def test_a_granted_frame_appears_where_the_grantee_maps_it(pair: Pair) -> None:
    pair.grant()
    pair.granter.write(BASE + SHARED_PAGE * 4096, b"shared")
    status, handle, _ = pair.map()
    assert (status, handle) == (OKAY, 0)
    table = memoryview(pair.granter.machine)[pair.grantee.mfn(PAGES) << 12 :][:4096].cast("Q")
    assert table[25] >> 12 == pair.mfn
    assert table[25] & 3 == 3
    assert pair.audit() == []
    table.release()


def test_the_entry_says_how_the_frame_is_used(pair: Pair) -> None:
    pair.grant()
    assert pair.flags() == 0
    _, reader, _ = pair.map(HOST | READONLY)
    assert pair.flags() == READING
    _, writer, _ = pair.map(address=WINDOW + 4096)
    assert pair.flags() == READING | WRITING
    assert pair.unmap(writer, WINDOW + 4096) == OKAY
    assert pair.flags() == READING
    assert pair.unmap(reader) == OKAY
    assert pair.flags() == 0
    assert pair.audit() == []


def test_a_mapped_frame_stays_with_its_granter_until_it_is_unmapped(pair: Pair) -> None:
    pair.grant()
    _, handle, _ = pair.map()
    pages = pair.granter.tot_pages
    # The granter unmaps it and gives it back to Xen.
    mfn = pair.mfn
    assert pair.granter.call(14, BASE + SHARED_PAGE * 4096, 0, 2) == 0
    pair.granter.write(ARGUMENT, struct.pack("<QQIIHxxxxxx", LIST, 1, 0, 0, DOMID_SELF))
    pair.granter.write(LIST, struct.pack("<Q", mfn))
    assert pair.granter.call(Hypercall.MEMORY_OP, 1, ARGUMENT) == 1
    assert pair.granter.frame(mfn)[3] == GRANTER
    assert pair.granter.tot_pages == pages
    assert pair.unmap(handle) == OKAY
    assert pair.granter.frame(mfn)[0] == 0
    assert pair.granter.tot_pages == pages - 1
    assert pair.audit() == []


def test_a_frame_mapped_writable_becomes_no_page_table(pair: Pair) -> None:
    pair.grant()
    _, handle, _ = pair.map()
    assert pair.granter.call(14, BASE + SHARED_PAGE * 4096, pair.mfn << 12 | 0x61, 2) == 0
    pin = struct.pack("<QQQ", 0, pair.mfn, 0)
    pair.granter.write(ARGUMENT, pin)
    assert pair.granter.call(26, ARGUMENT, 1, 0, DOMID_SELF) == -Errno.EINVAL
    assert pair.unmap(handle) == OKAY
    pair.granter.write(ARGUMENT, pin)
    assert pair.granter.call(26, ARGUMENT, 1, 0, DOMID_SELF) == 0
    assert pair.audit() == []


def test_a_page_table_is_not_granted_for_writing(pair: Pair) -> None:
    pair.grant(mfn=pair.granter.mfn(PAGES))
    assert pair.map()[0] == ERROR
    assert pair.flags() == 0
    status, handle, _ = pair.map(HOST | READONLY)
    assert status == OKAY
    assert pair.unmap(handle) == OKAY
    assert pair.audit() == []


@pytest.mark.parametrize(
    ("entry", "request_", "status"),
    [
        ({"flags": 0}, {}, ERROR),
        ({"domid": 3}, {}, ERROR),
        ({"flags": PERMIT | GTF_READONLY}, {}, ERROR),
        ({"flags": PERMIT | GTF_READONLY}, {"flags": HOST | READONLY}, OKAY),
        ({"flags": ACCEPT}, {}, ERROR),
        ({"mfn": 0xFFFFFF}, {}, ERROR),
        ({"mfn": 1}, {}, ERROR),
        ({}, {"domid": 77}, BAD_DOMAIN),
        ({}, {"domid": DOMID_SELF}, BAD_DOMAIN),
        ({}, {"ref": 100000}, BAD_REF),
        ({}, {"ref": 0xFFFFFFFF}, BAD_REF),
        ({}, {"flags": 0}, BAD_REF),
        ({}, {"address": 0xFFFF800000000000}, ERROR),
        ({}, {"address": 0x1000}, ERROR),
        ({}, {"flags": HOST | CONTAINS_PTE, "address": 0x1001}, ERROR),
        ({}, {"flags": HOST | CONTAINS_PTE, "address": 1 << 60}, ERROR),
    ],
)
def test_what_is_not_granted_is_not_mapped(
    pair: Pair, entry: dict[str, int], request_: dict[str, int], status: int
) -> None:
    pair.grant(**entry)
    answer, handle, _ = pair.map(**request_)
    assert answer == status
    if status != OKAY:
        assert handle == NO_HANDLE
        assert pair.flags() == 0
    assert pair.audit() == []


def test_frames_of_xens_are_not_granted(pair: Pair) -> None:
    pair.grant(mfn=pair.table)
    assert pair.map()[0] == ERROR
    assert pair.audit() == []


def test_a_frame_of_a_third_domain_is_not_granted(pair: Pair) -> None:
    third = StillDomain(3, beside=pair.granter)
    pair.grant(mfn=third.mfn(0))
    assert pair.map()[0] == ERROR
    assert third.audit() + pair.audit() == []


def test_a_mapping_by_entry_address_goes_into_that_entry(pair: Pair) -> None:
    pair.grant()
    entry = (pair.grantee.mfn(PAGES) << 12) + 8 * 25
    status, handle, _ = pair.map(HOST | CONTAINS_PTE, address=entry)
    assert status == OKAY
    assert pair.unmap(handle, entry + 8) == ERROR
    assert pair.unmap(handle, entry) == OKAY
    assert pair.audit() == []


def test_no_entry_is_written_outside_of_the_callers_own_page_tables(pair: Pair) -> None:
    pair.grant()
    for mfn in (pair.granter.mfn(PAGES), pair.grantee.mfn(3), pair.grantee.mfn(PAGES + 1)):
        assert pair.map(HOST | CONTAINS_PTE, address=(mfn << 12) + 8 * 26)[0] == ERROR
    assert pair.audit() == []


def test_a_device_mapping_tells_the_machine_address(pair: Pair) -> None:
    pair.grant()
    status, handle, address = pair.map(DEVICE)
    assert (status, address) == (OKAY, pair.mfn << 12)
    assert pair.unmap(handle, 0, address + 4096) == BAD_DEVICE_ADDRESS
    assert pair.unmap(handle, 0, address) == OKAY
    assert pair.unmap(handle, 0, address) == BAD_HANDLE


def test_a_handle_lives_until_both_its_mappings_are_gone(pair: Pair) -> None:
    pair.grant()
    _, handle, address = pair.map(HOST | DEVICE)
    assert pair.unmap(handle) == OKAY
    assert pair.flags() == READING | WRITING
    assert pair.unmap(handle, 0, address) == OKAY
    assert pair.flags() == 0


def test_a_readonly_handle_does_not_unmap_a_writable_entry(pair: Pair) -> None:
    # Else the writable entry would outlive the writable hold.
    pair.grant()
    _, reader, _ = pair.map(HOST | READONLY)
    _, writer, _ = pair.map(address=WINDOW + 4096)
    assert pair.unmap(writer, WINDOW) == ERROR
    assert pair.unmap(reader, WINDOW + 4096) == ERROR
    assert pair.audit() == []


def test_the_grantee_can_neither_copy_nor_widen_its_entry(pair: Pair) -> None:
    pair.grant()
    pair.map(HOST | READONLY)
    assert pair.grantee.call(14, WINDOW, pair.mfn << 12 | 0x63, 2) == -Errno.EBUSY
    assert pair.grantee.call(14, WINDOW + 4096, pair.mfn << 12 | 0x61, 2) == -Errno.EBUSY
    assert pair.audit() == []


def test_an_entry_lost_by_other_means_leaves_the_hold(pair: Pair) -> None:
    pair.grant()
    _, handle, _ = pair.map()
    assert pair.grantee.call(14, WINDOW, 0, 2) == 0
    assert pair.flags() == READING | WRITING
    assert pair.unmap(handle) == ERROR
    assert pair.audit() == []


def test_a_domains_death_gives_back_what_it_mapped(pair: Pair) -> None:
    pair.grant()
    pair.map()
    pair.grantee.destroy()
    assert pair.flags() == 0
    assert pair.granter.audit() == []
    assert pair.granter.frame(pair.mfn)[:2] == (2, 1)


def test_a_granters_death_leaves_the_frame_until_it_is_unmapped(pair: Pair) -> None:
    pair.grant()
    mfn = pair.mfn
    _, handle, _ = pair.map()
    assert pair.granter.destroy() == 1
    assert pair.map(address=WINDOW + 4096)[0] == BAD_DOMAIN
    assert pair.grantee.frame(mfn)[:2] == (1, 1)
    assert pair.unmap(handle) == OKAY
    assert pair.grantee.frame(mfn)[0] == 0
    assert pair.grantee.audit() == []


def test_unmap_and_replace_moves_the_other_entry_there(pair: Pair) -> None:
    pair.grant()
    _, handle, _ = pair.map()
    before = pair.grantee.mfn(26)
    assert call_one(pair.grantee, REPLACE, "<QQIhxx", WINDOW, WINDOW + 4096, handle, 99)[3] == OKAY
    table = memoryview(pair.granter.machine)[pair.grantee.mfn(PAGES) << 12 :][:4096].cast("Q")
    assert (table[25] >> 12, table[26]) == (before, 0)
    table.release()
    assert pair.flags() == 0
    assert pair.audit() == []


def test_a_long_list_is_continued_where_the_vcpu_is_wanted_elsewhere(pair: Pair) -> None:
    pair.grant()
    pair.grantee.write(ARGUMENT, struct.pack(MAPPING, 0, DEVICE, REF, GRANTER, 99, 99, 99) * 3)
    pair.grantee.preempt = True
    assert pair.grantee.call(Hypercall.GRANT_TABLE_OP, MAP, ARGUMENT, 3) == CONTINUE
    assert struct.unpack_from("<h", pair.grantee.read(ARGUMENT + 18, 2))[0] == OKAY
    assert struct.unpack_from("<h", pair.grantee.read(ARGUMENT + 32 + 18, 2))[0] == 99


def test_a_list_that_is_not_there_or_too_long_is_refused(pair: Pair) -> None:
    for command in (MAP, UNMAP, COPY, REPLACE, TRANSFER, SWAP, CACHE_FLUSH):
        assert pair.grantee.call(Hypercall.GRANT_TABLE_OP, command, UNMAPPED, 1) == -Errno.EFAULT
        assert pair.grantee.call(Hypercall.GRANT_TABLE_OP, command, ARGUMENT, 0x80000000) == -Errno.EINVAL
        assert pair.grantee.call(Hypercall.GRANT_TABLE_OP, command, UNMAPPED, 0) == 0


# --- copy


def test_copy_reads_and_writes_through_grants(pair: Pair) -> None:
    pair.grant()
    pair.granter.write(BASE + SHARED_PAGE * 4096 + 100, b"from the granter")
    own = (pair.grantee.mfn(5), DOMID_SELF, 8)
    assert copy(pair.grantee, (REF, GRANTER, 100), own, 16, 1) == OKAY
    assert pair.grantee.read(BASE + 5 * 4096 + 8, 16) == b"from the granter"
    pair.grantee.write(BASE + 5 * 4096 + 8, b"from the grantee")
    assert copy(pair.grantee, own, (REF, GRANTER, 4080), 16, 2) == OKAY
    assert pair.granter.read(BASE + SHARED_PAGE * 4096 + 4080, 16) == b"from the grantee"
    assert pair.flags() == 0
    assert pair.audit() == []


def test_copy_refuses_what_is_not_granted(pair: Pair) -> None:
    own = (pair.grantee.mfn(5), DOMID_SELF, 0)
    pair.grant(PERMIT | GTF_READONLY)
    assert copy(pair.grantee, own, (REF, GRANTER, 0), 16, 2) == ERROR
    assert copy(pair.grantee, (REF + 1, GRANTER, 0), own, 16, 1) == ERROR
    assert copy(pair.grantee, (REF, 77, 0), own, 16, 1) == BAD_DOMAIN
    assert copy(pair.grantee, (100000, GRANTER, 0), own, 16, 1) == BAD_REF
    assert copy(pair.grantee, (pair.mfn, GRANTER, 0), own, 16, 0) == DENIED
    assert copy(pair.grantee, (pair.mfn, DOMID_SELF, 0), own, 16, 0) == BAD_PAGE
    assert copy(pair.grantee, (REF, GRANTER, 4090), own, 16, 1) == BAD_COPY
    assert copy(pair.grantee, (REF, GRANTER, 0), (own[0], DOMID_SELF, 0xFFFF), 0xFFFF, 1) == BAD_COPY
    assert copy(pair.grantee, (REF, GRANTER, 0), (pair.grantee.mfn(PAGES), DOMID_SELF, 0), 16, 1) == ERROR
    assert pair.flags() == 0
    assert pair.audit() == []


def test_part_of_a_page_is_copied_and_never_mapped() -> None:
    pair = Pair(2)
    pair.entry()[:] = struct.pack("<HHHHQ", PERMIT | SUB_PAGE, GRANTEE, 64, 32, pair.mfn)
    own = (pair.grantee.mfn(5), DOMID_SELF, 0)
    assert copy(pair.grantee, (REF, GRANTER, 64), own, 32, 1) == OKAY
    assert copy(pair.grantee, (REF, GRANTER, 60), own, 32, 1) == ERROR
    assert copy(pair.grantee, (REF, GRANTER, 80), own, 32, 1) == ERROR
    assert pair.map()[0] == ERROR
    pair.entry()[:] = struct.pack("<HHHHQ", PERMIT | SUB_PAGE, GRANTEE, 4090, 4090, pair.mfn)
    assert copy(pair.grantee, (REF, GRANTER, 4090), own, 1, 1) == ERROR
    assert pair.flags() == 0
    assert pair.audit() == []


def test_a_transitive_grant_is_copied_and_goes_one_step_only() -> None:
    pair = Pair(2)
    third = StillDomain(3, beside=pair.granter)
    table = setup(third, 1)[0]
    place = (table << 12) + 8 * 12
    memoryview(pair.granter.machine)[place : place + 8] = struct.pack("<HHI", PERMIT, GRANTER, third.mfn(7))
    third.write(BASE + 7 * 4096, b"third")
    pair.entry()[:] = struct.pack("<HHHHIxxxx", TRANSITIVE, GRANTEE, 3, 0, 12)
    own = (pair.grantee.mfn(5), DOMID_SELF, 0)
    assert copy(pair.grantee, (REF, GRANTER, 0), own, 5, 1) == OKAY
    assert pair.grantee.read(BASE + 5 * 4096, 5) == b"third"
    assert pair.map()[0] == ERROR
    pair.entry()[:] = struct.pack("<HHHHIxxxx", TRANSITIVE, GRANTEE, GRANTER, 0, REF)
    assert copy(pair.grantee, (REF, GRANTER, 0), own, 5, 1) == ERROR
    assert pair.audit() + third.audit() == []


# --- the table


def test_the_version_changes_only_while_nothing_is_held() -> None:
    pair = Pair(1)
    pair.grant()
    _, handle, _ = pair.map()
    pair.granter.write(ARGUMENT, struct.pack("<I", 2))
    assert pair.granter.call(Hypercall.GRANT_TABLE_OP, SET_VERSION, ARGUMENT, 1) == -Errno.EBUSY
    assert pair.granter.read(ARGUMENT, 4) == struct.pack("<I", 1)
    assert pair.unmap(handle) == OKAY
    pair.granter.write(ARGUMENT, struct.pack("<I", 2))
    assert pair.granter.call(Hypercall.GRANT_TABLE_OP, SET_VERSION, ARGUMENT, 1) == 0
    assert call_one(pair.granter, GET_VERSION, "<HHI", DOMID_SELF, 0, 99)[2] == 2
    assert bytes(pair.entry()) == bytes(8)
    assert pair.audit() == []


def test_reserved_entries_outlive_a_change_of_version() -> None:
    pair = Pair(1)
    pair.grant(ref=1)
    pair.granter.write(ARGUMENT, struct.pack("<I", 2))
    assert pair.granter.call(Hypercall.GRANT_TABLE_OP, SET_VERSION, ARGUMENT, 1) == 0
    assert pair.map(ref=1)[0] == OKAY
    assert pair.audit() == []


def test_a_swap_exchanges_entries_that_nobody_holds(pair: Pair) -> None:
    pair.grant(ref=REF)
    assert call_one(pair.granter, SWAP, "<IIhxx", REF, REF + 1, 99)[2] == OKAY
    assert pair.map()[0] == ERROR
    status, _, _ = pair.map(ref=REF + 1)
    assert status == OKAY
    assert call_one(pair.granter, SWAP, "<IIhxx", REF, REF + 1, 99)[2] == AGAIN
    assert call_one(pair.granter, SWAP, "<IIhxx", REF, 1 << 30, 99)[2] == BAD_REF


def test_a_transferred_frame_changes_its_owner(pair: Pair) -> None:
    pair.grant(ACCEPT, mfn=0)
    given = pair.grantee.mfn(6)
    # As long as the giver maps it, it cannot be given.
    assert call_one(pair.grantee, TRANSFER, "<QHxxIhxxxxxx", given, GRANTER, REF, 99)[3] == BAD_PAGE
    assert pair.grantee.call(14, BASE + 6 * 4096, 0, 2) == 0
    assert call_one(pair.grantee, TRANSFER, "<QHxxIhxxxxxx", given, GRANTER, REF, 99)[3] == OKAY
    assert pair.granter.frame(given) == (1, 0, 0, GRANTER)
    assert int.from_bytes(pair.entry()[:2], "little") == ACCEPT | COMMITTED | COMPLETED
    assert pair.audit() == []


def test_a_transfer_nobody_asked_for_loses_the_frame(pair: Pair) -> None:
    given = pair.grantee.mfn(6)
    assert pair.grantee.call(14, BASE + 6 * 4096, 0, 2) == 0
    assert call_one(pair.grantee, TRANSFER, "<QHxxIhxxxxxx", given, GRANTER, REF, 99)[3] == ERROR
    assert pair.grantee.frame(given)[0] == 0
    assert pair.audit() == []


def test_a_cache_flush_is_for_frames_that_are_reached(pair: Pair) -> None:
    pair.grant()
    layout = "<QHHI"
    pair.grantee.write(ARGUMENT, struct.pack(layout, pair.mfn << 12, 0, 64, 1))
    assert pair.grantee.call(Hypercall.GRANT_TABLE_OP, CACHE_FLUSH, ARGUMENT, 1) == -Errno.EPERM
    pair.map()
    pair.grantee.write(ARGUMENT, struct.pack(layout, pair.mfn << 12, 0, 64, 3))
    assert pair.grantee.call(Hypercall.GRANT_TABLE_OP, CACHE_FLUSH, ARGUMENT, 1) == 0
    pair.grantee.write(ARGUMENT, struct.pack(layout, pair.mfn << 12, 4095, 2, 1))
    assert pair.grantee.call(Hypercall.GRANT_TABLE_OP, CACHE_FLUSH, ARGUMENT, 1) == -Errno.EINVAL


def test_a_domain_maps_what_it_granted_itself(pair: Pair) -> None:
    pair.grant(domid=GRANTER)
    fields = call_one(pair.granter, MAP, MAPPING, WINDOW, HOST, REF, GRANTER, 99, 99, 99)
    assert fields[4] == OKAY
    assert pair.audit() == []
    assert call_one(pair.granter, UNMAP, UNMAPPING, WINDOW, 0, fields[5], 99)[3] == OKAY
    assert pair.audit() == []


def test_handles_are_used_again_and_grow_on_demand(pair: Pair) -> None:
    pair.grant()
    handles = [pair.map(DEVICE)[1] for _ in range(200)]
    assert handles == list(range(200))
    for handle in handles:
        assert pair.unmap(handle, 0, pair.mfn << 12) == OKAY
    assert pair.flags() == 0
    assert pair.map(DEVICE)[1] == 199
    assert pair.audit() == []
