"""Dispatch, multicall and continuations; the page that documents the table."""

import struct
from pathlib import Path

import pytest

from tests.unit.hypercalls.hypercalls import ARGUMENT, HYPERVISOR, UNMAPPED
from xenia.abi.errno import Errno
from xenia.abi.sched import SCHEDOP_block as BLOCK, SCHEDOP_yield as YIELD
from xenia.abi.version import (
    XENVER_extraversion as EXTRAVERSION,
    XENVER_pagesize as PAGESIZE,
    XENVER_version as VERSION,
)
from xenia.abi.xen import Hypercall
from xenia.hypercalls.document import document
from xenia.hypercalls.rows import GuestKind, RowLock, Support
from xenia.hypercalls.table import rows
from xenia.testing.still import CONTINUE, DONE, StillDomain

DOCUMENT = Path(__file__).parents[3] / "docs" / "hypercalls.md"
CALLS = ARGUMENT + 0x2000
XEN_4_17 = 4 << 16 | 17


@pytest.fixture
def domain() -> StillDomain:
    return StillDomain()


def entry(number: int, *arguments: int) -> bytes:
    return struct.pack("=8Q", number, 77, *arguments, *[0] * (6 - len(arguments)))


def multicall(domain: StillDomain, *entries: bytes, at: int = CALLS) -> list[int]:
    domain.write(at, b"".join(entries))
    assert domain.call(Hypercall.MULTICALL, at, len(entries)) == 0
    return results(domain, len(entries), at)


def results(domain: StillDomain, count: int, at: int = CALLS) -> list[int]:
    return [int.from_bytes(domain.read(at + 64 * i + 8, 8), "little", signed=True) for i in range(count)]


def test_the_page_is_what_the_table_says() -> None:
    assert DOCUMENT.read_text() == document(), "run python -m xenia.hypercalls.document > docs/hypercalls.md"


def test_numbers_are_unique_and_every_reservation_has_a_note() -> None:
    numbers = [row.number for row in rows()]
    assert len(numbers) == len(set(numbers))
    assert all(row.note for row in rows() if row.support is not Support.SUPPORTED)


def test_each_row_says_its_lock_and_its_guests() -> None:
    locks = {row.name: row.lock for row in rows()}
    assert locks["mmu_update"] is RowLock.MMU
    assert locks["xen_version"] is RowLock.VCPU
    assert locks["event_channel_op"] is RowLock.TURN
    assert all(row.guests == (GuestKind.PV64,) for row in rows())


@pytest.mark.parametrize("number", [11, 38, 39, 43, 50, 63, 64, 1000, 0x100000011, (1 << 64) - 1])
def test_unknown_numbers_do_not_exist(domain: StillDomain, number: int) -> None:
    domain.syscall(number)
    assert domain.registers["rax"] == -Errno.ENOSYS & (1 << 64) - 1


def test_a_hypercall_answers_in_rax_and_leaves_the_other_registers(domain: StillDomain) -> None:
    assert not domain.syscall(Hypercall.XEN_VERSION, VERSION, 0, 33, 44, 55, 66)
    assert domain.registers == {
        "rax": XEN_4_17,
        "rdi": 0,
        "rsi": 0,
        "rdx": 33,
        "r10": 44,
        "r8": 55,
        "r9": 66,
        "rip": 0x1002,
    }
    assert domain.count(Hypercall.XEN_VERSION) == 1


def test_a_vcpu_leaves_the_processor_when_it_blocks_yields_or_somebody_wants_it(domain: StillDomain) -> None:
    assert domain.syscall(Hypercall.SCHED_OP, BLOCK, 0)
    domain.blocked = False
    assert domain.syscall(Hypercall.SCHED_OP, YIELD, 0)
    other = StillDomain()
    assert not other.syscall(Hypercall.XEN_VERSION, VERSION, 0)
    assert other.syscall(Hypercall.SET_TIMER_OP, other.now + 1000), "a nearer deadline"
    assert not other.syscall(Hypercall.XEN_VERSION, VERSION, 0)
    other.preempt = True
    assert other.syscall(Hypercall.XEN_VERSION, VERSION, 0)


def test_multicall_answers_each_entry_by_itself(domain: StillDomain) -> None:
    answers = multicall(
        domain,
        entry(Hypercall.XEN_VERSION, VERSION),
        entry(55),
        entry(Hypercall.XEN_VERSION, EXTRAVERSION, UNMAPPED),
        entry(Hypercall.XEN_VERSION, PAGESIZE),
    )
    assert answers == [XEN_4_17, -Errno.ENOSYS, -Errno.EFAULT, 4096]


def test_multicall_inside_multicall_is_refused(domain: StillDomain) -> None:
    assert multicall(domain, entry(Hypercall.MULTICALL, CALLS, 1), entry(Hypercall.XEN_VERSION)) == [
        -Errno.EINVAL,
        XEN_4_17,
    ]


def test_multicall_of_nothing_and_from_nowhere(domain: StillDomain) -> None:
    assert domain.call(Hypercall.MULTICALL, UNMAPPED, 0) == 0
    assert domain.call(Hypercall.MULTICALL, UNMAPPED, 1) == -Errno.EFAULT
    assert domain.call(Hypercall.MULTICALL, HYPERVISOR, 1) == -Errno.EFAULT


def test_multicall_entries_may_cross_pages(domain: StillDomain) -> None:
    at = ARGUMENT + 0x3000 - 40
    domain.write(at, entry(Hypercall.XEN_VERSION))
    assert domain.call(Hypercall.MULTICALL, at, 1) == 0
    assert int.from_bytes(domain.read(at + 8, 8), "little") == XEN_4_17


def test_an_interrupted_multicall_goes_on_with_the_next_entry(domain: StillDomain) -> None:
    domain.write(CALLS, entry(Hypercall.XEN_VERSION) * 3)
    domain.preempt = True
    assert domain.syscall(Hypercall.MULTICALL, CALLS, 3)
    assert results(domain, 3) == [XEN_4_17, 77, 77]
    registers = domain.registers
    assert (registers["rax"], registers["rdi"], registers["rsi"]) == (Hypercall.MULTICALL, CALLS + 64, 2)
    assert registers["rip"] == 0x1000
    domain.preempt = False
    assert domain.call(registers["rax"], registers["rdi"], registers["rsi"]) == 0
    assert results(domain, 3) == [XEN_4_17] * 3


def test_a_call_interrupted_inside_a_multicall_has_its_entry_rewritten(domain: StillDomain) -> None:
    populate, listed = 6, ARGUMENT + 0x1000
    domain.write(listed, struct.pack("=4Q", 100, 101, 102, 103))
    domain.write(ARGUMENT, struct.pack("=QQIIH6x", listed, 4, 0, 0, 0x7FF0))
    domain.write(CALLS, entry(Hypercall.MEMORY_OP, populate, ARGUMENT))
    domain.preempt = True
    assert domain.syscall(Hypercall.MULTICALL, CALLS, 1)
    assert struct.unpack("=8Q", domain.read(CALLS, 64))[2:4] == (populate | 1 << 6, ARGUMENT)
    assert domain.registers["rsi"] == 1
    domain.preempt = False
    assert domain.call(Hypercall.MULTICALL, CALLS, 1) == 0
    assert results(domain, 1) == [4]


# Addresses of a kernel that once said "continue" and "done"; and the words that say so now, which are no addresses.
@pytest.mark.parametrize("address", [0xFFFFFFFF8000FFFF, 0xFFFFFFFF8000FFFE])
def test_a_debug_register_may_hold_any_address_and_reads_back(domain: StillDomain, address: int) -> None:
    domain.syscall(Hypercall.SET_DEBUGREG, 0, address)
    domain.syscall(Hypercall.GET_DEBUGREG, 0)
    assert (domain.registers["rax"], domain.registers["rip"]) == (address, 0x1002)
    version = entry(Hypercall.XEN_VERSION, VERSION)
    assert multicall(domain, entry(Hypercall.GET_DEBUGREG, 0), version) == [address - (1 << 64), XEN_4_17]


@pytest.mark.parametrize("word", [CONTINUE, DONE])
def test_no_debug_register_holds_what_tells_a_continuation(domain: StillDomain, word: int) -> None:
    assert domain.call(Hypercall.SET_DEBUGREG, 0, word) == -Errno.EPERM
