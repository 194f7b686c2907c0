"""physdev_op, as Xen 4.17 answers a PV domain without devices (public/physdev.h)."""

import struct

import pytest

from tests.unit.hypercalls.hypercalls import ARGUMENT, UNMAPPED, call
from xenia.abi.errno import Errno
from xenia.abi.physdev import (
    PHYSDEVOP_IRQ_UNMASK_NOTIFY as IRQ_UNMASK_NOTIFY,
    PHYSDEVOP_alloc_irq_vector as ALLOC_IRQ_VECTOR,
    PHYSDEVOP_apic_read as APIC_READ,
    PHYSDEVOP_apic_write as APIC_WRITE,
    PHYSDEVOP_irq_status_query as IRQ_STATUS_QUERY,
    PHYSDEVOP_set_iobitmap as SET_IOBITMAP,
    PHYSDEVOP_set_iopl as SET_IOPL,
)
from xenia.abi.xen import DOMID_SELF, Hypercall
from xenia.testing.still import PAGES, StillDomain

EOI, MAP_PIRQ, UNMAP_PIRQ, MANAGE_PCI_ADD, MANAGE_PCI_REMOVE, PIRQ_EOI_GMFN_V1 = 12, 13, 14, 15, 16, 17
SETUP_GSI, GET_FREE_PIRQ, PCI_DEVICE_ADD, PIRQ_EOI_GMFN_V2, DBGP_OP = 21, 23, 25, 28, 29


@pytest.fixture
def domain() -> StillDomain:
    return StillDomain()


def op(domain: StillDomain, command: int, layout: str, *fields: int) -> tuple[int, tuple[int, ...]]:
    return call(domain, Hypercall.PHYSDEV_OP, command, layout, *fields)


def test_io_privilege_is_the_guests_own_affair(domain: StillDomain) -> None:
    assert op(domain, SET_IOPL, "=I", 3)[0] == 0
    assert domain.iopl == 3
    assert op(domain, SET_IOPL, "=I", 4)[0] == -Errno.EINVAL
    assert domain.iopl == 3
    assert op(domain, SET_IOBITMAP, "=QI", ARGUMENT, 65536)[0] == 0
    assert op(domain, SET_IOBITMAP, "=QI", ARGUMENT, 65537)[0] == -Errno.EINVAL


def test_interrupt_lines_can_be_asked_about_and_not_had(domain: StillDomain) -> None:
    assert op(domain, IRQ_STATUS_QUERY, "=II", 9, 0) == (0, (9, 1))
    assert op(domain, IRQ_STATUS_QUERY, "=II", 1 << 20, 0)[0] == -Errno.EINVAL
    assert op(domain, EOI, "=I", 9)[0] == -Errno.EINVAL
    assert op(domain, ALLOC_IRQ_VECTOR, "=II", 9, 0) == (0, (9, 9))
    assert op(domain, GET_FREE_PIRQ, "=iI", 1, 0)[0] == 0
    assert op(domain, MAP_PIRQ, "=H2xiiiiii4xQ", DOMID_SELF, 1, 9, 9, 0, 0, 0, 0)[0] == -Errno.EPERM
    assert op(domain, UNMAP_PIRQ, "=H2xi", 77, 9)[0] == -Errno.ESRCH


def test_hardware_is_the_hardware_domains(domain: StillDomain) -> None:
    for command in (APIC_READ, APIC_WRITE, MANAGE_PCI_ADD, MANAGE_PCI_REMOVE, SETUP_GSI, PCI_DEVICE_ADD, DBGP_OP):
        assert op(domain, command, "=16x")[0] == -Errno.EPERM
    assert domain.call(Hypercall.PHYSDEV_OP, APIC_READ, UNMAPPED) == -Errno.EFAULT
    assert op(domain, 99, "=16x")[0] == -Errno.ENOSYS


def test_the_eoi_page_is_held_as_writable_memory(domain: StillDomain) -> None:
    mfn = domain.mfn(9)
    references = domain.frame(mfn)
    assert op(domain, PIRQ_EOI_GMFN_V2, "=Q", mfn)[0] == 0
    assert domain.frame(mfn)[:2] == (references[0] + 1, references[1] + 1)
    assert op(domain, PIRQ_EOI_GMFN_V1, "=Q", domain.mfn(8))[0] == -Errno.EBUSY
    assert op(domain, PIRQ_EOI_GMFN_V1, "=Q", domain.mfn(PAGES))[0] == -Errno.EINVAL
    assert op(domain, PIRQ_EOI_GMFN_V1, "=Q", 0)[0] == -Errno.EINVAL


def test_the_older_form_carries_its_command_in_the_structure(domain: StillDomain) -> None:
    for command, argument, answer in (
        (SET_IOPL, 2, 0),
        (IRQ_UNMASK_NOTIFY, 0, 0),
        (EOI, 0, -Errno.ENOSYS),
        (APIC_READ, 0, -Errno.EPERM),
    ):
        domain.write(ARGUMENT, struct.pack("=I4xQQ", command, argument, 0))
        assert domain.call(Hypercall.PHYSDEV_OP_COMPAT, ARGUMENT) == answer
    assert domain.iopl == 2
