"""VCPUOP_initialise: a vcpu begins with the context that it was given, of which nothing is believed."""

import os
import struct
from typing import NamedTuple

import pytest

from tests.unit.hypercalls.hypercalls import UNMAPPED
from xenia.abi.errno import Errno
from xenia.abi.vcpu import (
    VCPUOP_down as DOWN,
    VCPUOP_initialise as INITIALISE,
    VCPUOP_is_up as IS_UP,
    VCPUOP_register_runstate_memory_area as REGISTER_RUNSTATE,
    VCPUOP_register_vcpu_info as REGISTER_VCPU_INFO,
    VCPUOP_register_vcpu_time_memory_area as REGISTER_TIME,
    VCPUOP_send_nmi as SEND_NMI,
    VCPUOP_up as UP,
)
from xenia.abi.xen import (
    FLAT_RING3_CS64,
    FLAT_RING3_SS,
    VCPU_GUEST_CONTEXT,
    Hypercall,
    VGCF_i387_valid,
    VGCF_in_kernel,
    VGCF_online,
)
from xenia.testing.still import BASE, PAGES, StillDomain

CONTEXT = BASE + 8 * 4096  # of two pages
GDT_PAGE, AREA_PAGE = 10, 11
L4 = PAGES + 3
NOT_CANONICAL = 1 << 47


class At(NamedTuple):
    """Where a field of struct vcpu_guest_context is, and what it holds."""

    offset: int
    kind: str = "Q"


FLAGS, RFLAGS, RIP, RSP = At(512), At(520 + 144), At(520 + 128), At(520 + 152)
CS, SS, DS, FS = At(520 + 136, "H"), At(520 + 160, "H"), At(520 + 176, "H"), At(520 + 184, "H")
RBX, MXCSR = At(520 + 40), At(24, "I")
TRAP_3, TRAP_3_CS = At(720 + 3 * 16 + 8), At(720 + 3 * 16 + 2, "H")
LDT_BASE, LDT_ENTRIES, GDT_FRAME, GDT_ENTRIES = At(4816), At(4824), At(4832), At(4960)
KERNEL_SP, CR0, CR1, CR3, DR7 = At(4976), At(4984), At(4992), At(5008), At(5048 + 56)
EVENT, FAILSAFE, SYSCALL = At(5112), At(5120), At(5128)
FS_BASE, GS_KERNEL, GS_USER = At(5144), At(5152), At(5160)


@pytest.fixture
def domain() -> StillDomain:
    domain = StillDomain()
    assert domain.add_vcpu(begun=False) == 1
    return domain


def good(domain: StillDomain) -> dict[At, int]:
    return {
        FLAGS: VGCF_in_kernel, RIP: BASE + 0x123, RSP: BASE + 0x800, RFLAGS: 0x1002, CS: FLAT_RING3_CS64,
        SS: FLAT_RING3_SS, CR3: domain.mfn(L4) << 12, GDT_FRAME: domain.mfn(GDT_PAGE), GDT_ENTRIES: 512,
        KERNEL_SP: BASE + 0x900, EVENT: BASE + 0x10, FAILSAFE: BASE + 0x20, SYSCALL: BASE + 0x30,
        TRAP_3: BASE + 0x40, TRAP_3_CS: FLAT_RING3_CS64, GS_KERNEL: BASE + 0x50, RBX: 7,
    }  # fmt: skip


def unmap_gdt(domain: StillDomain) -> None:
    """A frame that is mapped writable holds no descriptors."""
    assert domain.call(Hypercall.UPDATE_VA_MAPPING, BASE + GDT_PAGE * 4096, 0, 0) == 0


def initialise(domain: StillDomain, fields: dict[At, int]) -> int:
    context = bytearray(VCPU_GUEST_CONTEXT.size)
    for at, value in fields.items():
        struct.pack_into(f"<{at.kind}", context, at.offset, value)
    domain.write(CONTEXT, bytes(context))
    return domain.call(Hypercall.VCPU_OP, INITIALISE, 1, CONTEXT)


def op(domain: StillDomain, command: int, argument: int = 0) -> int:
    return domain.call(Hypercall.VCPU_OP, command, 1, argument)


def test_a_vcpu_begins_with_what_it_was_given(domain: StillDomain) -> None:
    assert (op(domain, IS_UP), op(domain, UP)) == (0, -Errno.EINVAL), "it has nothing to begin with"
    unmap_gdt(domain)
    assert initialise(domain, good(domain)) == 0
    assert op(domain, IS_UP) == 0
    assert (op(domain, UP), op(domain, IS_UP)) == (0, 1)
    vcpu = domain.save().vcpus[1]
    assert (vcpu.context.rip, vcpu.context.gpr[4], vcpu.context.gpr[3]) == (BASE + 0x123, BASE + 0x800, 7)
    assert (vcpu.context.cs, vcpu.context.ss, vcpu.context.kernel) == (FLAT_RING3_CS64, FLAT_RING3_SS, True)
    assert (vcpu.root_kernel, vcpu.root_user) == (domain.mfn(L4), 0)
    assert (vcpu.gdt_frames, vcpu.gdt_entries) == ((domain.mfn(GDT_PAGE),), 512)
    assert vcpu.traps[3] == (0, 0, FLAT_RING3_CS64, BASE + 0x40)
    assert [address for address, _ in vcpu.callbacks] == [BASE + 0x10, BASE + 0x20, BASE + 0x30, 0, 0]
    assert (vcpu.kernel_sp, vcpu.gs_base_kernel, vcpu.iopl) == (BASE + 0x900, BASE + 0x50, 1)
    assert (vcpu.context.rflags & 0x3202, struct.unpack_from("<H", vcpu.context.fpu)[0]) == (0x202, 0x37F)
    assert initialise(domain, good(domain)) == -Errno.EEXIST
    assert domain.audit() == []


def test_it_may_begin_at_once(domain: StillDomain) -> None:
    unmap_gdt(domain)
    wake = os.eventfd(0, os.EFD_NONBLOCK)
    try:
        domain.set_wake_fd(wake, vcpu=1)
        assert initialise(domain, good(domain) | {FLAGS: VGCF_in_kernel | VGCF_online}) == 0
        assert op(domain, IS_UP) == 1
        assert os.eventfd_read(wake) == 1, "its pcpu looks at it"
    finally:
        os.close(wake)


@pytest.mark.parametrize("at", [
    RIP, RSP, KERNEL_SP, EVENT, FAILSAFE, SYSCALL, TRAP_3, LDT_BASE, FS_BASE, GS_KERNEL, GS_USER,
])  # fmt: skip
def test_an_address_that_is_none_is_refused(domain: StillDomain, at: At) -> None:
    unmap_gdt(domain)
    assert initialise(domain, good(domain) | {at: NOT_CANONICAL}) == -Errno.EINVAL
    assert op(domain, UP) == -Errno.EINVAL
    assert domain.audit() == []


@pytest.mark.parametrize("wrong", [
    {LDT_BASE: BASE + 8, LDT_ENTRIES: 1}, {LDT_BASE: BASE, LDT_ENTRIES: 8193}, {GDT_ENTRIES: 14 * 512 + 1},
    {GDT_FRAME: 1 << 40}, {GDT_FRAME: 0}, {CR3: 0}, {CR3: 1 << 51}, {CR1: 1 << 40}, {FLAGS: 0},
])  # fmt: skip
def test_tables_that_are_not_its_own_are_refused_and_nothing_is_held(domain: StillDomain, wrong: dict[At, int]) -> None:
    unmap_gdt(domain)
    before = [domain.frame(domain.mfn(page)) for page in (L4, GDT_PAGE)]
    assert initialise(domain, good(domain) | wrong) == -Errno.EINVAL
    assert [domain.frame(domain.mfn(page)) for page in (L4, GDT_PAGE)] == before
    assert op(domain, UP) == -Errno.EINVAL
    assert domain.audit() == []
    assert initialise(domain, good(domain)) == 0, "it can still be given a good one"


def test_a_page_that_the_guest_writes_to_is_no_descriptor_table(domain: StillDomain) -> None:
    assert initialise(domain, good(domain)) == -Errno.EINVAL
    assert domain.audit() == []


def test_what_it_may_not_have_it_has_not(domain: StillDomain) -> None:
    unmap_gdt(domain)
    odd = {
        RFLAGS: (1 << 64) - 1, CS: 0xE008, SS: 0xE010, TRAP_3_CS: 0xE008, DS: 0xE008, FS: 0xE008, CR0: (1 << 64) - 1,
        FLAGS: VGCF_in_kernel | VGCF_i387_valid, MXCSR: 0xFFFFFFFF, DR7: (1 << 64) - 1,
    }  # fmt: skip
    assert initialise(domain, good(domain) | odd) == 0
    vcpu = domain.save().vcpus[1]
    assert vcpu.context.rflags & 0x23002 == 0x2, "no IOPL, not virtual-8086"
    assert (vcpu.context.cs, vcpu.context.ss, vcpu.traps[3][2]) == (FLAT_RING3_CS64, FLAT_RING3_SS, FLAT_RING3_CS64)
    assert {vcpu.context.segments[register][0] for register in (3, 4)} == {0}
    assert (vcpu.cr0, vcpu.dr[7]) == (8, 0x400)
    assert struct.unpack_from("<I", vcpu.context.fpu, 24)[0] == 0x1F80


def test_a_context_that_cannot_be_read_is_a_fault(domain: StillDomain) -> None:
    assert op(domain, INITIALISE, UNMAPPED) == -Errno.EFAULT


def test_one_that_is_up_places_its_vcpu_info_itself(domain: StillDomain) -> None:
    unmap_gdt(domain)
    assert initialise(domain, good(domain)) == 0
    assert op(domain, UP) == 0
    domain.write(CONTEXT, struct.pack("=QII", domain.mfn(AREA_PAGE), 64, 0))
    assert op(domain, REGISTER_VCPU_INFO, CONTEXT) == -Errno.EINVAL
    assert op(domain, DOWN) == 0
    assert op(domain, REGISTER_VCPU_INFO, CONTEXT) == 0
    assert domain.audit() == []


def test_areas_of_one_that_has_no_page_tables_yet_are_written_by_those_of_who_registers_them(
    domain: StillDomain,
) -> None:
    area = BASE + AREA_PAGE * 4096
    domain.write(CONTEXT, struct.pack("=Q", area))
    assert op(domain, REGISTER_RUNSTATE, CONTEXT) == 0
    assert struct.unpack("=i", domain.read(area, 4)) == (3,), "offline"
    domain.write(CONTEXT, struct.pack("=Q", area + 64))
    assert op(domain, REGISTER_TIME, CONTEXT) == 0
    assert domain.read(area + 64, 32) != bytes(32)
    domain.fire()


def test_a_vcpu_that_is_brought_up_or_sent_an_nmi_is_woken(domain: StillDomain) -> None:
    unmap_gdt(domain)
    assert initialise(domain, good(domain)) == 0
    before = domain.wakes(1)
    assert op(domain, UP) == 0
    assert domain.wakes(1) == before + 1
    kicks = domain.kicks_of(1)
    assert op(domain, SEND_NMI) == 0
    assert domain.kicks_of(1) == kicks + 1, "it runs"
    assert op(domain, DOWN) == 0
    assert domain.kicks_of(1) == kicks + 2
