"""Domains come and go by the hundred, and leave nothing: neither in the machine nor in this process."""

from __future__ import annotations

import gc
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import cache

import pytest

from tests.guests import tiny
from tests.long import amount
from xenia import Machine
from xenia.abi.xen import DOMID_FIRST_RESERVED
from xenia.toolstack.config.disk import parse_disk
from xenia.toolstack.config.net import parse_card
from xenia.toolstack.machine.domain import Domain
from xenia.xenstore.client import Client

pytestmark = pytest.mark.guest

CYCLES = amount(1000, 300)
MIB = 1 << 20
OF_A_DOMAIN = re.compile(r"/[1-9]\d*(/|$)")
GUESTS = ("spin", "ports", "grants", "mmu", "hypercalls", "shared_pages", "timers")


kernel = cache(tiny.kernel)


def held(machine: Machine) -> dict[str, object]:
    """What the machine and this process have."""
    return {
        "memory": machine.free_memory,
        "domains": len(machine.domains),
        "store": set(nodes(machine.xenstore, "/")),
        "clients": len(machine._house.store._clients),
        "descriptors": Counter(os.readlink(f"/proc/self/fd/{one}").partition("[")[0] for one in descriptors()),
        "threads": Counter(one.name for one in threading.enumerate()),
    }


def nodes(store: Client, path: str) -> Iterator[str]:
    """What of a domain lies below a node: it has a number."""
    for name in store.directory(path):
        below = f"{path.rstrip('/')}/{name}"
        yield from nodes(store, below)
        if OF_A_DOMAIN.search(below):
            yield below


def descriptors() -> Iterator[str]:
    return (one for one in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{one}"))


def live(machine: Machine, number: int) -> Domain:
    """One that has begun; of some with a disk, of some with a card.  Some end by themselves, which is waited for of
    some; the others are ended wherever they are."""
    name = GUESTS[number % len(GUESTS)]
    domain = machine.create_domain(kernel(name), memory=4 * MIB, console=lambda _: None, vcpus=1 + number % 2)
    if number % 8 == 0:
        domain.attach(parse_disk("memory:1M"))
    elif number % 8 == 5:
        domain.attach(parse_card("null"))
    if number % 9:  # the others end before they have begun
        domain.start()
    if number % 84 == 1:
        assert domain.wait(60) is not None
    return domain


def test_hundreds_of_domains_come_and_go_and_leave_nothing() -> None:
    with closing(Machine(32 * MIB)) as machine:
        for number in range(10):  # what is loaded late is there
            live(machine, number).destroy()
    with closing(Machine(32 * MIB)) as machine:
        machine._handle.next_domid = DOMID_FIRST_RESERVED - CYCLES // 2
        gc.collect()
        before = held(machine)
        gc.disable()  # all goes at once, and nothing waits for the collector
        try:
            for number in range(CYCLES):
                domain = live(machine, number)
                domid = domain.domid
                domain.destroy()
                del domain
            end = time.monotonic() + 60
            while held(machine) != before and time.monotonic() < end:
                time.sleep(0.01)  # the last one's thread has it still
            assert held(machine) == before
        finally:
            gc.enable()
        assert domid == CYCLES // 2  # they went round
