"""Eight of Debian's kernels at once, on two processors."""

from __future__ import annotations

import re
from contextlib import closing

import pytest

from tests.guests.neighbours import LIMIT, MIB, Output
from tests.guests.stock import skip_without
from xenia import Machine
from xenia.shutdown import Reason
from xenia.testing.guests import linux

pytestmark = pytest.mark.guest

COUNT = 8
MEMORY = 128 * MIB
SCRIPT = "n=0; while :; do echo round $((n += 1)): $(echo $n | md5sum); done"


def rounds(output: Output) -> int:
    """How many it has done."""
    found = re.findall(rb"round (\d+): [0-9a-f]{32}", bytes(output.said))
    return int(found[-1]) if found else 0


def await_rounds(output: Output, number: int) -> None:
    output.await_(lambda: rounds(output) >= number)


def test_eight_stock_guests_live_at_once_all_get_on_and_all_stop() -> None:
    skip_without("cloud-amd64", ())
    with closing(Machine(Machine.memory_for(*[MEMORY] * COUNT), scheduler="credit2", pcpus=2)) as machine:
        free = machine.free_memory
        outputs = [Output() for _ in range(COUNT)]
        domains = [
            linux(machine, SCRIPT, flavour="cloud-amd64", memory=MEMORY, console=output.take) for output in outputs
        ]
        for domain in domains:
            domain.start()
        for output in outputs:
            await_rounds(output, 1)
        began = [rounds(output) for output in outputs]  # all are at work
        for output, before in zip(outputs, began, strict=True):
            await_rounds(output, before + 20)
        for domain in domains:
            domain.ask("shutdown", "poweroff")
        for domain in domains:
            shutdown = domain.wait(LIMIT)
            assert shutdown is not None and shutdown.reason is Reason.POWEROFF
        for domain in domains:
            domain.handle.stop()
            assert domain.handle.audit() == []
            domain.destroy()
        assert machine.free_memory == free
