"""memory_op, as Xen 4.17 answers a PV domain (public/memory.h)."""

import struct

import pytest

from tests.unit.hypercalls.hypercalls import ARGUMENT, HYPERVISOR, LIST, UNMAPPED, call
from xenia.abi.errno import Errno
from xenia.abi.memory import (
    XEN_MEMORY_RESERVATION,
    XENMEM_add_to_physmap as ADD_TO_PHYSMAP,
    XENMEM_claim_pages as CLAIM,
    XENMEM_current_reservation as CURRENT,
    XENMEM_decrease_reservation as DECREASE,
    XENMEM_exchange as EXCHANGE,
    XENMEM_increase_reservation as INCREASE,
    XENMEM_machine_memory_map as MACHINE_MEMORY_MAP,
    XENMEM_machphys_mapping as MAPPING,
    XENMEM_machphys_mfn_list as MFN_LIST,
    XENMEM_maximum_gpfn as MAXIMUM_GPFN,
    XENMEM_maximum_ram_page as MAXIMUM_RAM_PAGE,
    XENMEM_maximum_reservation as MAXIMUM,
    XENMEM_memory_map as MEMORY_MAP,
    XENMEM_populate_physmap as POPULATE,
    XENMEM_remove_from_physmap as REMOVE,
    XENMEM_set_memory_map as SET_MEMORY_MAP,
)
from xenia.abi.xen import DOMID_SELF, Hypercall
from xenia.testing.still import CONTINUE, DONE, PAGES, StillDomain

MAX_PFN = 3088  # in struct shared_info
FRAMES = PAGES + 4  # what a still domain starts with
INVALID = (1 << 64) - 1
RESERVATION = XEN_MEMORY_RESERVATION.format


@pytest.fixture
def domain() -> StillDomain:
    return StillDomain(spare=16)


def write_list(domain: StillDomain, *words: int) -> None:
    domain.write(LIST, struct.pack(f"={len(words)}Q", *words))


def read_list(domain: StillDomain, count: int) -> tuple[int, ...]:
    return struct.unpack(f"={count}Q", domain.read(LIST, 8 * count))


def reserve(
    domain: StillDomain, command: int, count: int, order: int = 0, flags: int = 0, domid: int = DOMID_SELF
) -> int:
    return call(domain, Hypercall.MEMORY_OP, command, RESERVATION, LIST, count, order, flags, domid)[0]


def exchange(
    domain: StillDomain, ins: tuple[int, int], outs: tuple[int, int], done: int = 0, domid: int = DOMID_SELF
) -> tuple[int, int]:
    """(count, order) of each side, the in list at LIST and the out list one page on: result and nr_exchanged."""
    fields = (LIST, *ins, 0, domid, LIST + 4096, *outs, 0, domid, done)
    result, after = call(domain, Hypercall.MEMORY_OP, EXCHANGE, RESERVATION + RESERVATION[1:] + "Q", *fields)
    return result, after[-1]


def m2p(domain: StillDomain, mfn: int) -> int:
    return domain.machine.m2p[mfn]


def test_populating_gives_zeroed_frames_and_tells_the_m2p_table(domain: StillDomain) -> None:
    write_list(domain, 100, 200)
    assert reserve(domain, POPULATE, 2) == 2
    first, second = read_list(domain, 2)
    assert (m2p(domain, first), m2p(domain, second)) == (100, 200)
    assert domain.frame(first) == (1, 0, 0, 1)
    assert not any(domain.machine_read(first, 0, 4096))
    assert domain.tot_pages == FRAMES + 2


def test_increasing_leaves_the_m2p_table_to_the_guest(domain: StillDomain) -> None:
    assert reserve(domain, INCREASE, 1) == 1
    assert m2p(domain, read_list(domain, 1)[0]) == INVALID


def test_a_domain_gets_no_more_than_its_maximum(domain: StillDomain) -> None:
    write_list(domain, *range(100, 120))
    assert reserve(domain, POPULATE, 20) == 16
    assert reserve(domain, POPULATE, 1) == 0
    assert domain.tot_pages == FRAMES + 16


def test_extents_are_contiguous_and_aligned(domain: StillDomain) -> None:
    write_list(domain, 0x1000)
    assert reserve(domain, POPULATE, 1, order=3) == 1
    (mfn,) = read_list(domain, 1)
    assert mfn % 8 == 0
    assert [m2p(domain, mfn + i) for i in range(8)] == list(range(0x1000, 0x1008))
    assert reserve(domain, DECREASE, 1, order=3) == 1
    assert domain.tot_pages == FRAMES
    assert reserve(domain, INCREASE, 1, order=10) == 0, "larger than an ordinary domain may ask for"


def test_address_bits_are_kept_or_nothing_is_given(domain: StillDomain) -> None:
    free = domain.machine.nr_free
    assert reserve(domain, INCREASE, 1, flags=32) == 1
    assert reserve(domain, INCREASE, 1, flags=13) == 0
    assert reserve(domain, INCREASE, 1, flags=5) == 0
    assert domain.machine.nr_free == free - 1


def test_frames_given_back_go_when_the_last_mapping_does(domain: StillDomain) -> None:
    write_list(domain, domain.mfn(8))
    free = domain.machine.nr_free
    assert reserve(domain, DECREASE, 1) == 1
    assert domain.frame(domain.mfn(8))[:2] == (1, 1), "still mapped"
    assert domain.machine.nr_free == free
    write_list(domain, 7)
    assert reserve(domain, POPULATE, 1) == 1
    (mfn,) = read_list(domain, 1)
    assert reserve(domain, DECREASE, 1) == 1
    assert reserve(domain, DECREASE, 1) == 0, "not its frame any more"
    assert m2p(domain, mfn) == INVALID


def test_frames_that_are_not_its_own_cannot_be_given_back(domain: StillDomain) -> None:
    for mfn in (0, 1, 1 << 40, INVALID):
        write_list(domain, mfn)
        assert reserve(domain, DECREASE, 1) == 0


def test_shared_info_and_grant_frames_stay_xenias() -> None:
    domain = StillDomain(domid=3)
    domain.write(ARGUMENT, struct.pack("=H2xIhxxxxxxQ", DOMID_SELF, 1, 0, LIST))
    assert domain.call(Hypercall.GRANT_TABLE_OP, 2, ARGUMENT, 1) == 0
    (grant,) = read_list(domain, 1)
    assert domain.frame(grant)[3] == 3
    assert reserve(domain, DECREASE, 1) == 1  # so real Xen says, and takes nothing
    write_list(domain, 9)
    domain.write(LIST + 4096, struct.pack("=Q", grant))
    fields = (LIST + 4096, 1, 0, 0, DOMID_SELF, LIST, 1, 0, 0, DOMID_SELF, 0)
    assert call(domain, Hypercall.MEMORY_OP, EXCHANGE, RESERVATION + RESERVATION[1:] + "Q", *fields)[0] == -Errno.EINVAL
    assert domain.frame(grant)[:2] == (1, 1)


def test_only_oneself_is_adjusted(domain: StillDomain) -> None:
    write_list(domain, 1)
    for domid in (0, 77):
        assert reserve(domain, POPULATE, 1, domid=domid) == 0
    assert reserve(domain, POPULATE, 1, domid=1) == 1


def test_failures_answer_the_number_of_extents_done(domain: StillDomain) -> None:
    assert domain.call(Hypercall.MEMORY_OP, POPULATE, UNMAPPED) == 0
    assert domain.call(Hypercall.MEMORY_OP, POPULATE | 5 << 6, UNMAPPED) == 5
    assert reserve(domain, POPULATE, 1 << 40) == 0
    assert reserve(domain, POPULATE, 0) == 0


def test_a_long_operation_continues_from_the_extents_done(domain: StillDomain) -> None:
    write_list(domain, *range(100, 108))
    domain.write(ARGUMENT, struct.pack(RESERVATION, LIST, 8, 0, 0, DOMID_SELF))
    domain.preempt = True
    assert domain.call(Hypercall.MEMORY_OP, POPULATE, ARGUMENT) == CONTINUE
    assert domain.tot_pages == FRAMES + 1
    assert domain.syscall(Hypercall.MEMORY_OP, POPULATE | 1 << 6, ARGUMENT)
    assert domain.registers["rdi"] == POPULATE | 2 << 6
    assert domain.registers["rip"] == 0x1000, "back at the syscall"
    domain.preempt = False
    assert domain.call(Hypercall.MEMORY_OP, POPULATE | 2 << 6, ARGUMENT) == 8
    assert domain.tot_pages == FRAMES + 8


def test_exchange_swaps_frames_for_new_ones_of_the_same_number(domain: StillDomain) -> None:
    write_list(domain, 100, 101)
    assert reserve(domain, POPULATE, 2) == 2
    old = read_list(domain, 2)
    domain.write(LIST + 4096, struct.pack("=2Q", 300, 301))
    assert exchange(domain, (2, 0), (2, 0)) == (0, 2)
    new = struct.unpack("=2Q", domain.read(LIST + 4096, 16))
    assert [m2p(domain, mfn) for mfn in new] == [300, 301]
    assert [m2p(domain, mfn) for mfn in old if mfn not in new] == [INVALID] * len(set(old) - set(new))
    assert domain.tot_pages == FRAMES + 2


def test_exchange_makes_single_frames_contiguous_and_back(domain: StillDomain) -> None:
    write_list(domain, *range(100, 104))
    assert reserve(domain, POPULATE, 4) == 4
    domain.write(LIST + 4096, struct.pack("=Q", 400))
    assert exchange(domain, (4, 0), (1, 2)) == (0, 4)
    (mfn,) = struct.unpack("=Q", domain.read(LIST + 4096, 8))
    assert mfn % 4 == 0
    assert [m2p(domain, mfn + i) for i in range(4)] == [400, 401, 402, 403]
    write_list(domain, mfn)
    domain.write(LIST + 4096, struct.pack("=4Q", 500, 510, 520, 530))
    assert exchange(domain, (1, 2), (4, 0)) == (0, 1)
    singles = struct.unpack("=4Q", domain.read(LIST + 4096, 32))
    assert [m2p(domain, single) for single in singles] == [500, 510, 520, 530]
    assert domain.tot_pages == FRAMES + 4


@pytest.mark.parametrize("what", ["mapped", "same twice", "foreign", "past the end of the machine", "wrapping"])
def test_exchange_takes_only_frames_that_nothing_else_holds(domain: StillDomain, what: str) -> None:
    write_list(domain, 100, 101)
    reserve(domain, POPULATE, 2)
    first, second = read_list(domain, 2)
    bad = {
        "mapped": domain.mfn(3),
        "same twice": first,
        "foreign": 1,
        "past the end of the machine": 1 << 30,
        "wrapping": INVALID,
    }[what]
    write_list(domain, first, bad)
    domain.write(LIST + 4096, struct.pack("=2Q", 300, 302))
    result, done = exchange(domain, (2, 0), (1, 1))
    assert (result, done) == (-Errno.EINVAL, 0)
    assert domain.tot_pages == FRAMES + 2
    assert m2p(domain, first) == 100
    write_list(domain, first, second)
    assert exchange(domain, (2, 0), (1, 1)) == (0, 2), "what was taken for the refused exchange was returned"


def test_exchange_refuses_unlike_sizes_and_other_domains(domain: StillDomain) -> None:
    assert exchange(domain, (2, 0), (2, 1))[0] == -Errno.EINVAL
    assert exchange(domain, (1, 10), (1, 10))[0] == -Errno.EPERM
    assert exchange(domain, (1, 0), (1, 0), done=2)[0] == -Errno.EINVAL
    assert exchange(domain, (1, 0), (1, 0), domid=77)[0] == -Errno.ESRCH


def test_an_exchange_whose_answer_cannot_be_written_changes_nothing(domain: StillDomain) -> None:
    write_list(domain, 100)
    reserve(domain, POPULATE, 1)
    (mfn,) = read_list(domain, 1)
    fields = (LIST, 1, 0, 0, DOMID_SELF, UNMAPPED, 1, 0, 0, DOMID_SELF, 0)
    free = domain.machine.nr_free
    assert call(domain, Hypercall.MEMORY_OP, EXCHANGE, RESERVATION + RESERVATION[1:] + "Q", *fields)[0] == -Errno.EFAULT
    assert (m2p(domain, mfn), domain.tot_pages, domain.machine.nr_free) == (100, FRAMES + 1, free)
    assert reserve(domain, DECREASE, 1) == 1


def test_sizes_of_the_reservation(domain: StillDomain) -> None:
    for command, answer in ((CURRENT, FRAMES), (MAXIMUM, FRAMES + 16), (MAXIMUM_GPFN, FRAMES - 1)):
        assert call(domain, Hypercall.MEMORY_OP, command, "=H", DOMID_SELF)[0] == answer
        assert call(domain, Hypercall.MEMORY_OP, command, "=H", 0)[0] == -Errno.EPERM
        assert call(domain, Hypercall.MEMORY_OP, command, "=H", 77)[0] == -Errno.ESRCH
        assert domain.call(Hypercall.MEMORY_OP, command, UNMAPPED) == -Errno.EFAULT
    assert domain.call(Hypercall.MEMORY_OP, MAXIMUM_RAM_PAGE, 0) == domain.machine.nr_frames


@pytest.mark.parametrize("word", [CONTINUE, DONE, (1 << 63) - 2])
def test_the_last_frame_that_a_guest_says_it_has_is_a_number_and_no_continuation(
    domain: StillDomain, word: int
) -> None:
    memory = memoryview(domain.machine)
    said = [mfn * 4096 + MAX_PFN for mfn in range(domain.machine.nr_frames)]
    (max_pfn,) = [at for at in said if memory[at : at + 8] == struct.pack("=Q", FRAMES)]
    memory[max_pfn : max_pfn + 8] = struct.pack("=Q", word + 1)
    assert call(domain, Hypercall.MEMORY_OP, MAXIMUM_GPFN, "=H", DOMID_SELF)[0] == 0


def test_where_the_m2p_table_is(domain: StillDomain) -> None:
    result, mapping = call(domain, Hypercall.MEMORY_OP, MAPPING, "=3Q", 0, 0, 0)
    assert (result, mapping) == (0, (HYPERVISOR, HYPERVISOR + (1 << 38), (1 << 35) - 1))
    result, listed = call(domain, Hypercall.MEMORY_OP, MFN_LIST, "=I4xQI4x", 8, LIST, 0)
    assert (result, listed[2]) == (0, 1)
    (first,) = read_list(domain, 1)
    assert domain.machine_read(first, 8 * domain.mfn(5), 8) == struct.pack("=Q", 5)


def test_there_is_no_memory_map_until_one_is_set(domain: StillDomain) -> None:
    assert call(domain, Hypercall.MEMORY_OP, MEMORY_MAP, "=I4xQ", 4, LIST)[0] == -Errno.ENOSYS
    entries = struct.pack("=QQI", 0, 1 << 20, 1) + struct.pack("=QQI", 1 << 20, 1 << 30, 2)
    domain.write(LIST, entries)
    assert call(domain, Hypercall.MEMORY_OP, SET_MEMORY_MAP, "=H6xI4xQ", DOMID_SELF, 129, LIST)[0] == -Errno.EINVAL
    assert call(domain, Hypercall.MEMORY_OP, SET_MEMORY_MAP, "=H6xI4xQ", 0, 2, LIST)[0] == -Errno.EPERM
    assert call(domain, Hypercall.MEMORY_OP, SET_MEMORY_MAP, "=H6xI4xQ", DOMID_SELF, 2, LIST)[0] == 0
    domain.write(LIST, bytes(40))
    result, (count, _) = call(domain, Hypercall.MEMORY_OP, MEMORY_MAP, "=I4xQ", 4, LIST)
    assert (result, count, domain.read(LIST, 40)) == (0, 2, entries)


def test_what_is_not_an_ordinary_pv_domains(domain: StillDomain) -> None:
    assert domain.call(Hypercall.MEMORY_OP, MACHINE_MEMORY_MAP, ARGUMENT) == -Errno.EPERM
    assert call(domain, Hypercall.MEMORY_OP, ADD_TO_PHYSMAP, "=HHIQQ", DOMID_SELF, 0, 0, 0, 0)[0] == -Errno.EACCES
    assert call(domain, Hypercall.MEMORY_OP, REMOVE, "=H6xQ", DOMID_SELF, domain.mfn(0))[0] == 0
    assert call(domain, Hypercall.MEMORY_OP, REMOVE, "=H6xQ", DOMID_SELF, 1)[0] == -Errno.ENOENT
    assert call(domain, Hypercall.MEMORY_OP, CLAIM, RESERVATION, 0, 1, 0, 0, 1)[0] == -Errno.EPERM
    assert call(domain, Hypercall.MEMORY_OP, CLAIM, RESERVATION, LIST, 1, 0, 0, 1)[0] == -Errno.EINVAL
    assert domain.call(Hypercall.MEMORY_OP, 63, ARGUMENT) == -Errno.ENOSYS
