"""A domain that works and tells each round of it, and neighbours that leave nothing undone to hold it up.

What it gets is counted in its rounds, and in the time of the pcpus, which goes on however busy the host is.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from tests.guests.tiny import kernel
from xenia import Machine
from xenia.storage.memory import Memory
from xenia.testing.guests import linux
from xenia.toolstack.config.net import parse_card
from xenia.toolstack.machine.domain import Domain

MIB = 1 << 20
MEMORY = 16 * MIB
STOCK_MEMORY = 128 * MIB
LIMIT = 120.0

STORMS = (
    *("hypercalls", "yields", "events", "timers", "alarms", "ports", "frames", "grants", "flushes", "faults"),
    *("words", "lines", "store"),
)
# A bomb of processes that compute, and one process that takes all the memory there is, again and again.
SCRIPTS: Mapping[str, str] = {
    "fork bomb": "echo go; bomb() { bomb | bomb & }; while :; do bomb; done",
    "memory hog": "echo go; while :; do tail /dev/zero; done",
}


@dataclass
class Output:
    """What a domain says, and how many bytes of it are kept."""

    said: bytearray = field(default_factory=bytearray)
    changed: threading.Condition = field(default_factory=threading.Condition)
    kept: int = 1 << 16

    def take(self, data: bytes) -> None:
        """The domain's console."""
        with self.changed:
            self.said += data
            del self.said[: -self.kept]
            self.changed.notify_all()

    def await_word(self, word: bytes) -> None:
        """Until it was said."""
        self.await_(lambda: word in self.said)

    def await_(self, condition: Callable[[], bool]) -> None:
        """Until that holds of what was said."""
        with self.changed:
            assert self.changed.wait_for(condition, LIMIT), bytes(self.said[-600:])


class Worker:
    """The domain that works, on a disk of its own: mostly it "computes", or mostly it "reads"."""

    def __init__(self, machine: Machine, work: str, *, name: str = "worker", memory: int = MEMORY) -> None:
        self.output = Output()
        self.looks = 0
        self.domain = machine.create_domain(
            kernel("blkfront"), memory=memory, cmdline=work, console=self.output.take, name=name
        )
        self.domain.attach_disk(Memory(2 * MIB))
        self.domain.start()

    def await_ready(self) -> None:
        """Until its data is in place."""
        self.output.await_word(b"ready")

    def ask_to_look(self) -> None:
        """At all of its memory and its disk."""
        self.looks += 1
        self.domain.console.send(b"a")

    def await_look(self) -> None:
        """Until it has found all as it was.  AssertionError where it is not."""
        self.output.await_(lambda: self.rounds >= 0 and b"look %d: whole" % self.looks in self.output.said)

    @property
    def entries(self) -> int:
        """How often its vcpu was entered."""
        return int(str(self.domain.handle.statistics["entries"]))

    def await_round(self, number: int) -> None:
        """Until it has done so many."""
        self.output.await_(lambda: self.rounds >= number)

    @property
    def rounds(self) -> int:
        """How many it has done.  AssertionError where one of them found its data changed."""
        said = bytes(self.output.said)
        assert b"broken" not in said
        found = re.findall(rb"round (\d+): whole", said)
        return int(found[-1]) if found else 0

    @property
    def time(self) -> int:
        """ns of pcpus."""
        return time_of(self.domain)


def time_of(domain: Domain) -> int:
    """ns of pcpus that it has had."""
    return sum(vcpu.time for vcpu in domain.sched.vcpus)


def _tiny(name: str, cmdline: str) -> Callable[[Machine, Output], Domain]:
    return lambda machine, output: machine.create_domain(
        kernel(name), memory=MEMORY, cmdline=cmdline, console=output.take, name="neighbour"
    )


def _abuse(name: str) -> Callable[[Machine, Output], Domain]:
    def make(machine: Machine, output: Output) -> Domain:
        domain = _tiny(name, "abuses")(machine, output)
        if name == "blkfront":
            domain.attach_disk(Memory(2 * MIB))
        else:
            domain.attach(parse_card("null"))
        return domain

    return make


def _stock(script: str) -> Callable[[Machine, Output], Domain]:
    return lambda machine, output: linux(
        machine, script, flavour="cloud-amd64", memory=STOCK_MEMORY, console=output.take, name="neighbour"
    )


# What each neighbour is, and the word after which it is at work.
NEIGHBOURS: Mapping[str, tuple[Callable[[Machine, Output], Domain], bytes]] = {
    "computes": (_tiny("spin", ""), b"spinning"),
    **{name: (_tiny("storm", name), b"go") for name in STORMS},
    "a batch of 60 million": (_tiny("hog", ""), b"go"),
    **{name: (_tiny("hog", name), b"go") for name in ("trees", "extents", "batches")},
    "everything at once": (_tiny("flood", ""), b"round"),
    "a block ring": (_abuse("blkfront"), b"connected: yes"),
    "a network ring": (_abuse("netfront"), b"connected: yes"),
    **{name: (_stock(script), b"go") for name, script in SCRIPTS.items()},
}


@contextmanager
def beside(machine: Machine, worker: Worker, kind: str) -> Iterator[Domain]:
    """Such a neighbour, at work; the worker stands still until it is."""
    make, word = NEIGHBOURS[kind]
    output = Output()
    worker.domain.pause()
    domain = make(machine, output)
    try:
        domain.start()
        output.await_word(word)
        worker.domain.unpause()
        yield domain
    finally:
        domain.destroy()


@dataclass(frozen=True)
class Got:
    """What the worker got in a while: rounds, ns of pcpus, seconds; and ns of pcpus that its neighbour got."""

    rounds: int
    ns: int
    seconds: float
    neighbours_ns: int = 0

    @property
    def share(self) -> float:
        """Of what both got."""
        return self.ns / (self.ns + self.neighbours_ns)


def watch(worker: Worker, neighbour: Domain | None, ns: int) -> Got:
    """Until both together have had so many ns of pcpus."""
    begun, rounds, worked = time.monotonic(), worker.rounds, worker.time
    theirs = 0 if neighbour is None else time_of(neighbour)
    waiting = threading.Event()
    while True:
        got = Got(
            worker.rounds - rounds, worker.time - worked, time.monotonic() - begun,
            0 if neighbour is None else time_of(neighbour) - theirs,
        )  # fmt: skip
        if got.ns + got.neighbours_ns >= ns:
            return got
        assert got.seconds < LIMIT, got
        waiting.wait(0.02)


@contextmanager
def neighbourhood(pcpus: int, work: str) -> Iterator[tuple[Machine, Worker]]:
    """A machine with the worker in it, and room for a neighbour."""
    with closing(Machine(Machine.memory_for(MEMORY, STOCK_MEMORY), scheduler="credit2", pcpus=pcpus)) as machine:
        worker = Worker(machine, work)
        worker.await_ready()
        yield machine, worker
