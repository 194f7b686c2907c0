"""Who has which domain number."""

import pytest

from xenia.abi.xen import DOMID_FIRST_RESERVED
from xenia.errors import ConfigError
from xenia.hypervisor.machine import MachineHandle

LAST = DOMID_FIRST_RESERVED - 1


def test_numbers_are_those_below_xens_own_and_each_is_given_out_once() -> None:
    machine = MachineHandle(1 << 20)

    def reserve(first: int) -> int:
        machine.next_domid = first
        return machine.reserve_domid()

    assert [reserve(LAST - 1) for _ in range(3)] == [LAST - 1, LAST, 1]
    assert sorted(reserve(2) for _ in range(LAST - 3)) == list(range(2, LAST - 1))
    for first in 1, LAST:
        with pytest.raises(ConfigError):
            reserve(first)
