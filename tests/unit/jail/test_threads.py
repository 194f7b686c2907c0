"""In a program of somebody's own, the threads that run guests are behind a filter, and nothing else is."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from xenia.guests import embedded
from xenia.jail.jail import walls_of_host
from xenia.toolstack.config.machine import MIB
from xenia.toolstack.machine.machine import Machine

pytestmark = [
    pytest.mark.skipif(walls_of_host().filters is None, reason="this host filters no system calls"),
    pytest.mark.skipif(embedded() is None, reason="the built-in guest is not built: no C compiler for x86-64"),
]


def filters(thread: int) -> int:
    """How many filters are over one of this process's threads."""
    status = Path(f"/proc/self/task/{thread}/status").read_text()
    return int(status.partition("Seccomp_filters:")[2].split()[0])


def run_and_look(jail: bool = True) -> dict[str, int]:
    """Filters by thread's name while a guest runs, beyond those that this thread has."""
    image = embedded()
    assert image is not None
    prompted = threading.Event()

    def console(data: bytes) -> None:
        if b">" in data:
            prompted.set()

    with Machine(Machine.memory_for(16 * MIB), jail=jail) as machine:
        domain = machine.create_domain(image, memory=16 * MIB, console=console)
        domain.start()
        assert prompted.wait(30)
        own = filters(threading.get_native_id())
        return {thread.name: filters(thread.native_id) - own for thread in threading.enumerate() if thread.native_id}


def test_the_vcpus_thread_is_behind_a_filter_and_the_program_is_not() -> None:
    found = run_and_look()
    assert found.pop("d1v0") == 1
    assert {name for name, count in found.items() if count} == set()


def test_a_program_may_do_without() -> None:
    assert set(run_and_look(jail=False).values()) == {0}


FAULT = """
import faulthandler, os, threading
from xenia.jail.jail import confine_in_any_process
from xenia.jail.kinds import Kind

def run():
    confine_in_any_process(Kind.VCPU)
    {fault}

faulthandler.enable()
threading.Thread(target=run).start()
"""


@pytest.mark.parametrize(
    ("fault", "ending"), [("faulthandler._read_null()", signal.SIGSEGV), ("os.abort()", signal.SIGABRT)]
)
def test_a_fault_on_such_a_thread_ends_a_program_that_tells_of_faults(fault: str, ending: signal.Signals) -> None:
    told = subprocess.run(
        [sys.executable, "-c", FAULT.format(fault=fault)], stderr=subprocess.PIPE, timeout=30, check=False
    )
    assert told.returncode == -ending
    assert told.stderr.count(b"Fatal Python error") == 1
