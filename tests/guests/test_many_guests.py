"""Sixty-four tiny guests and eight of Debian's kernels at once, on two processors."""

from __future__ import annotations

import re
from contextlib import closing

import pytest

from tests.guests.neighbours import LIMIT, MIB, Output, Worker
from tests.guests.stock import skip_without
from xenia import Machine
from xenia.shutdown import Reason
from xenia.testing.guests import linux

pytestmark = pytest.mark.guest

TINY, TINY_MEMORY = 64, 8 * MIB
STOCK, STOCK_MEMORY = 8, 128 * MIB
SCRIPT = "n=0; while :; do echo round $((n += 1)): $(echo $n | md5sum); done"


def rounds(output: Output) -> int:
    """How many a stock guest has done."""
    found = re.findall(rb"round (\d+): [0-9a-f]{32}", bytes(output.said))
    return int(found[-1]) if found else 0


def await_rounds(output: Output, number: int) -> None:
    output.await_(lambda: rounds(output) >= number)


def test_sixty_four_tiny_guests_and_eight_stock_ones_live_at_once_all_get_on_and_all_stop() -> None:
    skip_without("cloud-amd64", ())
    memory = Machine.memory_for(*[STOCK_MEMORY] * STOCK, *[TINY_MEMORY] * TINY)
    with closing(Machine(memory, scheduler="credit2", pcpus=2)) as machine:
        free = machine.free_memory
        outputs = [Output() for _ in range(STOCK)]
        stock = [
            linux(machine, SCRIPT, flavour="cloud-amd64", memory=STOCK_MEMORY, console=output.take)
            for output in outputs
        ]
        for domain in stock:
            domain.start()
        for output in outputs:
            await_rounds(output, 1)
        workers = [Worker(machine, "computes", name=f"tiny{number}", memory=TINY_MEMORY) for number in range(TINY)]
        for worker in workers:
            worker.await_ready()
        began = [rounds(output) for output in outputs]  # all are at work
        done = [worker.rounds for worker in workers]
        for worker, before in zip(workers, done, strict=True):
            worker.await_round(before + 4)
        for output, before in zip(outputs, began, strict=True):
            await_rounds(output, before + 2)
        for worker in workers:
            worker.ask_to_look()
        for worker in workers:
            worker.await_look()
        for domain in stock:
            domain.ask("shutdown", "poweroff")
        for worker in workers:
            worker.domain.console.send(b"q")
        for domain in (*stock, *(worker.domain for worker in workers)):
            shutdown = domain.wait(LIMIT)
            assert shutdown is not None and shutdown.reason is Reason.POWEROFF
        for worker in workers:
            worker.output.await_word(b"closed: yes")
        for domain in (*stock, *(worker.domain for worker in workers)):
            domain.handle.stop()
            assert domain.handle.audit() == []
            domain.destroy()
        assert machine.free_memory == free
