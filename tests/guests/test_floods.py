"""A guest that takes all it can get costs the process no more than its own time."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from tests.guests.tiny import kernel
from xenia import Machine

pytestmark = pytest.mark.guest

MIB = 1 << 20


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_guest_that_floods_everything_fills_no_memory_and_ends_at_once() -> None:
    rounds = threading.Semaphore(0)

    def count(data: bytes) -> None:
        for _ in range(data.count(b"round")):
            rounds.release()

    with Machine(Machine.memory_for(16 * MIB)) as machine:
        domain = machine.create_domain(kernel("flood"), memory=16 * MIB, console=count)
        domain.start()
        for _ in range(10):
            assert rounds.acquire(timeout=60)
        before = resident()
        for _ in range(40):
            assert rounds.acquire(timeout=60)
        assert resident() - before < 16 * MIB
        asked = time.monotonic()
        domain.destroy()
        assert time.monotonic() - asked < 5


def test_a_flood_into_a_terminal_that_stands_still_fills_no_memory() -> None:
    reader, writer = os.pipe()
    try:
        with Machine(Machine.memory_for(16 * MIB)) as machine:
            domain = machine.create_domain(kernel("flood"), memory=16 * MIB, cmdline="words", console=writer)
            domain.start()
            while domain.console.stats.discarded_bytes < 8 * MIB:
                assert domain.wait(0.05) is None
            before = resident()
            while domain.console.stats.discarded_bytes < 64 * MIB:
                assert domain.wait(0.05) is None
            assert resident() - before < 16 * MIB
            domain.destroy()
    finally:
        os.close(reader)
        os.close(writer)
