"""A machine and its domains, as far as no guest need run."""

from __future__ import annotations

import pydoc
import re
import threading
from collections.abc import Iterator

import pytest

from xenia.errors import ConfigError
from xenia.guests import embedded
from xenia.storage.memory import Memory
from xenia.toolstack.config.machine import MIB
from xenia.toolstack.machine.domain import Domain
from xenia.toolstack.machine.machine import Machine
from xenia.toolstack.machine.site import DomainSite

pytestmark = pytest.mark.skipif(embedded() is None, reason="the built-in guest is not built: no C compiler for x86-64")


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(Machine.memory_for(16 * MIB, 16 * MIB)) as machine:
        yield machine


@pytest.fixture
def domain(machine: Machine) -> Domain:
    image = embedded()
    assert image is not None
    return machine.create_domain(image, memory=16 * MIB)


def test_help_says_what_each_attribute_of_a_domain_is(domain: Domain) -> None:
    shown = pydoc.plain(pydoc.render_doc(Domain))
    told = set()
    for names in re.findall(r"^ \|  (\w+(?:, \w+)*)  +\S", shown, re.MULTILINE):  # of one space: a sentence
        told.update(names.split(", "))
    assert {name for name in vars(domain) if not name.startswith("_")} <= told
    for name, member in {**vars(DomainSite), **vars(Domain)}.items():
        assert name.startswith("_") or member.__doc__, name


def test_a_destroyed_domain_does_not_start(domain: Domain) -> None:
    domain.destroy()
    with pytest.raises(ConfigError, match="cannot start guest 'guest': it is destroyed"):
        domain.start()


def test_a_domain_may_be_destroyed_while_it_starts(machine: Machine) -> None:
    image = embedded()
    assert image is not None
    free = machine.free_memory
    for _ in range(20):
        domain = machine.create_domain(image, memory=16 * MIB)
        ready = threading.Barrier(2)

        def start(domain: Domain = domain, ready: threading.Barrier = ready) -> None:
            ready.wait()
            try:
                domain.start()
            except ConfigError:
                return  # the other was first

        thread = threading.Thread(target=start)
        thread.start()
        ready.wait()
        domain.destroy()
        thread.join()
        assert machine.free_memory == free


def test_disks_are_named_in_order_and_a_name_is_taken_once(domain: Domain) -> None:
    assert [domain.attach_disk(Memory(4096)).name for _ in range(2)] == ["xvda", "xvdb"]
    assert domain.attach_disk(Memory(4096), name="xvdd").name == "xvdd"
    assert [domain.attach_disk(Memory(4096)).name for _ in range(2)] == ["xvdc", "xvde"]
    with pytest.raises(ConfigError, match="there is a disk d0 already"):
        domain.attach_disk(Memory(4096), name="d0")  # xvda by another name
    with pytest.raises(ConfigError, match="'floppy' is no disk's name"):
        domain.attach_disk(Memory(4096), name="floppy")


def test_layers_can_outlive_the_domain(domain: Domain) -> None:
    layer = Memory(4096)
    domain.attach_disk(layer)
    domain.destroy(keep_layers=True)
    layer.pwrite(b"kept", 0)
    layer.resize(8192)
    layer.close()


def test_a_machine_that_is_closed_may_be_closed_again() -> None:
    machine = Machine(16 * MIB)
    machine.close()
    machine.close()
