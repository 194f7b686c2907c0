"""A wait that looks before it sleeps: when it does, and when it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from xenia.testing.idler import Chore, Idler

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one processor, and nobody looks")


class Waits:
    """Waits for a descriptor."""

    def __init__(self, stack: ExitStack) -> None:
        self.idler, self._chore = Idler(looks=True), Chore()
        self.idler.lend(self._chore)
        stack.callback(self.idler.close)
        stack.callback(self._chore.close)

    def short(self) -> None:
        """What it waits for is there."""
        os.eventfd_write(self._chore.descriptor, 1)
        self.idler.sleep(10)

    def long(self) -> None:
        """Nothing comes."""
        self.idler.sleep(0.001)


@pytest.fixture
def waits() -> Iterator[Waits]:
    with ExitStack() as stack:
        yield Waits(stack)


def test_after_short_waits_it_looks_and_after_a_long_one_it_sleeps(waits: Waits) -> None:
    while waits.idler.waits[0] < 100:
        waits.short()
    waits.long()
    found, slept, _ = waits.idler.waits
    waits.short()
    assert waits.idler.waits[:2] == (found, slept + 1)


def test_where_somebody_else_wants_the_processor_it_soon_sleeps_for_its_next_waits(waits: Waits) -> None:
    processors = os.sched_getaffinity(0)
    one = {min(processors)}
    spin = f"import os\nos.sched_setaffinity(0, {one})\nprint(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", spin], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None and other.stdout.readline()
            os.sched_setaffinity(0, one)
            while not waits.idler.waits[2]:
                waits.short()
                waits.idler.sleep(0.00005)
            found, slept, skips = waits.idler.waits
            waits.short()
            assert waits.idler.waits == (found, slept + 1, skips - 1)
        finally:
            os.sched_setaffinity(0, processors)
            other.kill()
