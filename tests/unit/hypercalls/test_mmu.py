"""The hypercalls of page tables: arguments, how much was done, and continuations."""

import struct

import pytest

from tests.unit.hypercalls.hypercalls import ARGUMENT, HYPERVISOR, LIST, UNMAPPED
from xenia.abi.errno import Errno
from xenia.abi.xen import (
    DOMID_SELF,
    MMUEXT_SET_LDT as SET_LDT,
    MMUEXT_TLB_FLUSH_LOCAL as FLUSH_LOCAL,
    Hypercall,
)
from xenia.testing.fuzzer import fuzz
from xenia.testing.still import BASE, CONTINUE, PAGES, StillDomain

PREEMPTED = 1 << 31
DONE = ARGUMENT + 0x800
READ_ONLY, WRITABLE = 0x61, 0x63
WINDOW = PAGES - 1  # the data page whose entry is changed


@pytest.fixture
def domain() -> StillDomain:
    return StillDomain(domid=7)


def requests(domain: StillDomain, *updates: tuple[int, int]) -> None:
    domain.write(LIST, b"".join(struct.pack("=QQ", *update) for update in updates))


def operations(domain: StillDomain, *commands: tuple[int, int]) -> None:
    domain.write(LIST, b"".join(struct.pack("=I4xQQ", command, argument, 0) for command, argument in commands))


def entry(domain: StillDomain) -> int:
    return domain.mfn(PAGES) << 12 | WINDOW * 8


def window(domain: StillDomain) -> int:
    return int.from_bytes(domain.machine_read(domain.mfn(PAGES), WINDOW * 8, 8), "little")


def done(domain: StillDomain) -> int:
    return int.from_bytes(domain.read(DONE, 4), "little")


def test_mmu_update_says_how_many_it_carried_out(domain: StillDomain) -> None:
    good = domain.mfn(3) << 12 | READ_ONLY
    requests(domain, (entry(domain), good), (entry(domain), 0x7FFFFFF << 12 | 1), (entry(domain), 0))
    assert domain.call(Hypercall.MMU_UPDATE, LIST, 3, DONE, DOMID_SELF) == -Errno.EPERM
    assert (done(domain), window(domain)) == (1, good)
    assert domain.audit() == []


@pytest.mark.parametrize("address", [0, UNMAPPED, HYPERVISOR])
def test_where_the_number_goes_may_be_nowhere(domain: StillDomain, address: int) -> None:
    requests(domain, (entry(domain), 0))
    assert domain.call(Hypercall.MMU_UPDATE, LIST, 1, address, DOMID_SELF) == 0


@pytest.mark.parametrize("number", [Hypercall.MMU_UPDATE, Hypercall.MMUEXT_OP])
def test_a_preempted_batch_is_continued_where_it_stopped(domain: StillDomain, number: int) -> None:
    if number == Hypercall.MMU_UPDATE:
        requests(domain, *[(entry(domain), domain.mfn(page) << 12 | READ_ONLY) for page in range(3)])
    else:
        operations(domain, *[(FLUSH_LOCAL, 0)] * 3)
    size = 16 if number == Hypercall.MMU_UPDATE else 24
    domain.preempt = True
    domain.syscall(number, LIST, 3, DONE, DOMID_SELF)
    registers = domain.registers
    assert (registers["rip"], registers["rax"]) == (0x1000, number)  # back before the `syscall`
    assert (registers["rdi"], registers["rsi"]) == (LIST + size, 2 | PREEMPTED)
    assert done(domain) == 1
    domain.preempt = False
    assert domain.call(number, registers["rdi"], registers["rsi"], registers["rdx"], registers["r10"]) == 0
    assert done(domain) == 3
    assert domain.audit() == []


def test_every_call_makes_progress_however_often_it_is_preempted(domain: StillDomain) -> None:
    requests(domain, *[(entry(domain), domain.mfn(page) << 12 | READ_ONLY) for page in range(8)])
    domain.preempt = True
    arguments, calls, result = (LIST, 8, DONE, DOMID_SELF), 0, CONTINUE
    while result == CONTINUE:
        domain.syscall(Hypercall.MMU_UPDATE, *arguments)
        registers = domain.registers
        arguments = (registers["rdi"], registers["rsi"], registers["rdx"], registers["r10"])
        result = CONTINUE if registers["rip"] == 0x1000 else registers["rax"]
        calls += 1
    assert (result, calls, done(domain)) == (0, 8, 8)


def test_update_va_mapping(domain: StillDomain) -> None:
    pte = domain.mfn(3) << 12 | WRITABLE
    assert domain.call(Hypercall.UPDATE_VA_MAPPING, BASE + 4096 * WINDOW, pte, 2) == 0
    assert window(domain) == pte
    assert domain.call(Hypercall.UPDATE_VA_MAPPING, UNMAPPED + (1 << 40), pte, 2) == -Errno.EINVAL
    assert domain.audit() == []


@pytest.mark.parametrize(
    ("domid", "result"), [(DOMID_SELF, 0), (0, -Errno.EPERM), (77, -Errno.ESRCH), (7, -Errno.ESRCH)]
)
def test_update_va_mapping_otherdomain_knows_no_other_domain(domain: StillDomain, domid: int, result: int) -> None:
    before = window(domain)
    assert (
        domain.call(
            Hypercall.UPDATE_VA_MAPPING_OTHERDOMAIN, BASE + 4096 * WINDOW, domain.mfn(3) << 12 | WRITABLE, 2, domid
        )
        == result
    )
    assert (window(domain) == before) == (result != 0)


def test_set_gdt_takes_a_list_of_frames(domain: StillDomain) -> None:
    assert domain.call(Hypercall.UPDATE_VA_MAPPING, BASE + 4096 * WINDOW, domain.mfn(WINDOW) << 12 | READ_ONLY, 2) == 0
    domain.write(LIST, struct.pack("=Q", domain.mfn(WINDOW)))
    assert domain.call(Hypercall.SET_GDT, LIST, 512) == 0
    assert domain.frame(domain.mfn(WINDOW))[1:3] == (1, 5)
    assert domain.audit() == []
    assert domain.call(Hypercall.SET_GDT, UNMAPPED, 512) == -Errno.EFAULT
    assert domain.call(Hypercall.SET_GDT, LIST, 7169) == -Errno.EINVAL
    assert domain.call(Hypercall.SET_GDT, UNMAPPED, 0) == 0  # no frames, nothing to read
    assert domain.audit() == []


def two_gdts(domain: StillDomain) -> None:
    """Each of its two vcpus has one, and the second an LDT as well."""
    second = domain.add_vcpu()
    for number, page in ((0, WINDOW), (second, WINDOW - 1)):
        domain.run_on(number)
        assert domain.call(Hypercall.UPDATE_VA_MAPPING, BASE + 4096 * page, domain.mfn(page) << 12 | READ_ONLY, 2) == 0
        domain.write(LIST, struct.pack("=Q", domain.mfn(page)))
        assert domain.call(Hypercall.SET_GDT, LIST, 512) == 0
    domain.write(LIST, struct.pack("=I4xQQ", SET_LDT, BASE + 4096 * (WINDOW - 2), 512))
    assert domain.call(Hypercall.MMUEXT_OP, LIST, 1, 0, DOMID_SELF) == 0
    domain.run_on(0)


def test_every_vcpu_has_a_gdt_of_its_own_and_the_domains_end_lets_go_of_all(domain: StillDomain) -> None:
    two_gdts(domain)
    assert [domain.frame(domain.mfn(page))[1:3] for page in (WINDOW, WINDOW - 1)] == [(1, 5), (1, 5)]
    assert domain.audit() == []
    assert domain.call(Hypercall.SET_GDT, LIST, 0) == 0
    assert [domain.frame(domain.mfn(page))[1] for page in (WINDOW, WINDOW - 1)] == [0, 1]
    assert domain.audit() == []
    assert domain.destroy() == 0


def test_every_vcpus_tables_are_saved_and_restored(domain: StillDomain) -> None:
    two_gdts(domain)
    saved = domain.save()
    assert [vcpu.gdt_frames for vcpu in saved.vcpus] == [(domain.mfn(WINDOW),), (domain.mfn(WINDOW - 1),)]
    assert [vcpu.ldt_entries for vcpu in saved.vcpus] == [0, 512]
    other = StillDomain(domid=7, saved=saved)
    assert [other.frame(other.mfn(page))[1:3] for page in (WINDOW, WINDOW - 1)] == [(1, 5), (1, 5)]
    assert other.audit() == []
    assert other.save().vcpus == saved.vcpus


def test_update_descriptor(domain: StillDomain) -> None:
    maddr = domain.mfn(3) << 12 | 0x10
    assert domain.call(Hypercall.UPDATE_DESCRIPTOR, maddr, 0x00CFF3000000FFFF) == 0
    assert domain.machine_read(domain.mfn(3), 0x10, 8) == (0x00CFF3000000FFFF).to_bytes(8, "little")
    assert domain.call(Hypercall.UPDATE_DESCRIPTOR, maddr, 0x000089000000FFFF) == -Errno.EINVAL


def test_a_million_calls_of_every_kind_leave_the_frame_table_right() -> None:
    for seed in range(10):
        domain = StillDomain(domid=7)
        fuzz(domain, seed, 100_000)
        assert domain.audit() == [], f"seed {seed}"
