"""How much memory domains may have of a machine's: targets, maxima, and nothing promised twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from xenia.errors import ConfigError
from xenia.guests import embedded
from xenia.toolstack.config.machine import MIB, MachineConfig
from xenia.toolstack.machine.domain import Domain
from xenia.toolstack.machine.machine import Machine

pytestmark = pytest.mark.skipif(embedded() is None, reason="the built-in guest is not built: no C compiler for x86-64")


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(Machine.memory_for(64 * MIB)) as machine:
        yield machine


def create(machine: Machine, memory: int, **options: Any) -> Domain:
    image = embedded()
    assert image is not None
    return machine.create_domain(image, memory=memory, **options)


def test_a_target_and_a_maximum_are_told_in_the_store(machine: Machine) -> None:
    domain = create(machine, 16 * MIB, max_memory=48 * MIB)
    keys = f"/local/domain/{domain.domid}/memory"
    assert (machine.xenstore.get(f"{keys}/target"), machine.xenstore.get(f"{keys}/static-max")) == ("16384", "49152")
    domain.set_memory(32 * MIB)
    domain.set_max_memory(40 * MIB)
    assert (machine.xenstore.get(f"{keys}/target"), machine.xenstore.get(f"{keys}/static-max")) == ("32768", "40960")
    assert (domain.memory_target, domain.max_memory) == (32 * MIB, 40 * MIB)


def test_a_target_beyond_the_maximum_is_refused(machine: Machine) -> None:
    domain = create(machine, 16 * MIB)
    with pytest.raises(ConfigError, match=r"more than the 16M that guest 'guest' may have: raise that first \(mem-max"):
        domain.set_memory(17 * MIB)
    with pytest.raises(ConfigError, match="a guest needs 4M at the very least"):
        domain.set_memory(MIB)
    with pytest.raises(ConfigError, match=r"less than the 16M that guest 'guest' is to have"):
        domain.set_max_memory(8 * MIB)
    assert (domain.memory_target, domain.max_memory) == (16 * MIB, 16 * MIB)


def test_memory_that_was_promised_to_one_is_no_others(machine: Machine) -> None:
    first = create(machine, 16 * MIB, max_memory=48 * MIB)
    before = machine.free_memory
    first.set_memory(40 * MIB)  # which it has not taken yet
    assert machine.free_memory == before - 24 * MIB
    with pytest.raises(ConfigError, match="not enough machine memory: 32 MiB asked for"):
        create(machine, 32 * MIB)
    second = create(machine, 16 * MIB, max_memory=48 * MIB)
    with pytest.raises(ConfigError, match="not enough machine memory: 32 MiB asked for"):
        second.set_memory(32 * MIB)
    first.set_memory(16 * MIB)
    second.set_memory(32 * MIB)
    second.destroy()
    assert machine.free_memory == before


def test_what_a_guest_keeps_above_its_target_is_its_own(machine: Machine) -> None:
    domain = create(machine, 32 * MIB)
    before = machine.free_memory
    domain.set_memory(16 * MIB)  # and it does not run, and gives nothing back
    assert machine.free_memory == before
    domain.set_memory(32 * MIB)
    assert machine.free_memory == before


def test_the_host_has_back_what_a_domain_used(machine: Machine) -> None:
    before = machine.resident_memory
    domain = create(machine, 16 * MIB)
    assert machine.resident_memory > before  # its kernel and tables
    domain.destroy()
    assert machine.resident_memory == before


def test_a_maximum_below_the_memory_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"a maximum of 128M \(--maxmem\) is less than the guest's 256M"):
        MachineConfig(max_memory=128 * MIB)
