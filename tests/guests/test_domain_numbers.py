"""Domain numbers go round below Xen's own, and none is given out twice at a time."""

from __future__ import annotations

import gc

import pytest

from tests.guests.tiny import kernel
from xenia.abi.xen import DOMID_FIRST_RESERVED
from xenia.errors import ConfigError
from xenia.hypervisor.domain import DomainHandle, create_domain
from xenia.hypervisor.machine import MachineHandle

pytestmark = pytest.mark.guest

MIB = 1 << 20
LAST = DOMID_FIRST_RESERVED - 1


def create(machine: MachineHandle) -> DomainHandle:
    return create_domain(machine, kernel("shutdown_reboot"), memory=8 * MIB)


def test_after_the_last_number_comes_the_first_again() -> None:
    machine = MachineHandle(32 * MIB)
    machine.next_domid = LAST - 1
    numbers = []
    for _ in range(4):
        domain = create(machine)
        numbers.append(domain.domid)
        domain.start()
        domain.wait(20)
        domain.destroy()
        del domain
    assert numbers == [LAST - 1, LAST, 1, 2]


def test_a_number_that_somebody_has_is_passed_over() -> None:
    machine = MachineHandle(64 * MIB)
    lives = create(machine)
    gone = create(machine)
    gone.destroy()  # but for its object, which others may still hold frames by
    machine.next_domid = LAST
    assert create(machine).domid == LAST
    after = create(machine)
    assert (lives.domid, gone.domid, after.domid) == (1, 2, 3)
    del gone, after
    gc.collect()
    machine.next_domid = 1
    assert create(machine).domid == 2


def test_a_domain_that_could_not_be_made_keeps_no_number() -> None:
    machine = MachineHandle(32 * MIB)
    for _ in range(3):
        with pytest.raises(ConfigError):
            create_domain(machine, kernel("shutdown_reboot"), memory=64 * MIB)
    gc.collect()
    machine.next_domid = 1
    assert create(machine).domid == 1
