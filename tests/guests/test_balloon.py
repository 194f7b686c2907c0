"""A stock kernel's balloon: memory that is given back to the host, and taken again, while the guest works."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tests.guests.stock import skip_without
from tests.long import amount
from xenia.shutdown import Reason
from xenia.testing.guests import linux
from xenia.toolstack.config.machine import MIB
from xenia.toolstack.machine.machine import Machine
from xenia.toolstack.provision.initramfs import FRONTENDS
from xenia.toolstack.provision.packages import PackageClient

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(not PackageClient.available(), reason="no apt-get on this host to fetch Debian's kernels with"),
]

LEAST, STEP, MOST, TIMES = 144 * MIB, 16 * MIB, 320 * MIB, amount(50, 12)
LIMIT = 60.0

# Two processes write, compare and free all the time what takes some memory; the end comes by a line on the console.
SCRIPT = """
work() {
    head -c 4000000 /dev/urandom > /tmp/$1; sum=$(md5sum < /tmp/$1)
    while [ ! -e /tmp/end ]; do
        cp /tmp/$1 /tmp/$1.copy
        [ "$(md5sum < /tmp/$1.copy)" = "$sum" ] || echo "data $1: FAILED"
        rm /tmp/$1.copy
    done
    echo "worker $1 ended"
}
mkdir -p /tmp
work a & work b &
echo ready
read line
touch /tmp/end
wait
dmesg | grep -E "BUG|WARNING|Oops|Bad page|out of memory|Out of memory" | sed 's/^/kernel: FAILED /'
echo finished
"""


def until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)  # a guest's own doing: it tells nobody
    return True


def test_a_guest_that_works_gives_memory_back_and_takes_it_again_many_times() -> None:
    skip_without("amd64", FRONTENDS)
    console, ready = bytearray(), threading.Event()

    def take(data: bytes) -> None:
        console.extend(data)
        if b"ready\r\n" in console:
            ready.set()

    with Machine(Machine.memory_for(MOST)) as machine:
        domain = linux(machine, SCRIPT, memory=LEAST + 32 * MIB, max_memory=MOST, console=take)
        domain.start()
        assert ready.wait(LIMIT), console.decode()

        def has(size: int) -> bool:
            domain.set_memory(size)
            return until(lambda: domain.statistics["frames"] << 12 == size)

        free = machine.free_memory
        for size in (*[LEAST + STEP, LEAST] * TIMES, MOST, LEAST):
            assert has(size), console.decode()
        assert machine.free_memory == free + 32 * MIB
        assert machine.resident_memory < LEAST + 16 * MIB  # the frame table's and Xen's own beside it
        domain.console.send(b"\n")
        shutdown = domain.wait(LIMIT)
        said = console.decode()
        assert shutdown is not None and shutdown.reason is Reason.POWEROFF, said
        assert "worker a ended" in said and "worker b ended" in said and "finished" in said
        assert "FAILED" not in said
        assert domain.handle.audit() == []
