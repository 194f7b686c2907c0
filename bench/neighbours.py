"""What a domain gets beside one that leaves nothing undone to hold it up: python -m bench.neighbours [KIND ...]

Both have one vcpu and the same weight, and share one pcpu; with --pcpus 2 each has one, on two of the host's
processors.  Of each kind three figures, medians of the turns, over what the domain does alone just before and after:

share   its rate of work, over half of it: rounds by the time that the host gives to the pcpu's thread, or with two to
        all of Xenia's, those that serve the two included.  So what else the host does matters little
time    how much of that time was its own, over half of it: what the scheduler makes of it, and what is charged to whom
speed   rounds by its own time: what caches and memory that two share make of it.  The share is time x speed

Behind that is the slowest turn's speed, and the fastest's.  With --plain its neighbour is a process of the host's on
the other processor, and shares nothing else with it: one that does the same work in C, one that only spins, one that
writes to 128 MB.  Only the speed says something then, and beside nobody it is what the host's other work makes of it.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from guests.build import compiler
from tests.guests.neighbours import NEIGHBOURS, Worker, beside, neighbourhood, time_of
from xenia.toolstack.machine.domain import Domain

SOURCE = Path(__file__).with_name("plain.c")
PLAIN = ("nobody", "computes", "spins", "writes")


@dataclass(frozen=True)
class Rate:
    """What the worker does: rounds a second of all that counts, and how much of that was its own."""

    work: float
    time: float

    def over(self, fair: Rate) -> Figures:
        return Figures(self.work / fair.work, self.time / fair.time, self.work / self.time / (fair.work / fair.time))


@dataclass(frozen=True)
class Figures:
    share: float
    time: float
    speed: float


def given_to(pcpus: str) -> float:
    """ns that the host has given the threads whose names begin so."""
    numbers = [thread.native_id for thread in threading.enumerate() if thread.name.startswith(pcpus)]
    return sum(int(Path(f"/proc/self/task/{number}/schedstat").read_text().split()[0]) for number in numbers)


def counted(worker: Worker, neighbour: Domain | None, pcpus: int) -> tuple[float, ...]:
    """Rounds, ns of the worker's, ns of both, and ns of all that counts."""
    if pcpus == 2:
        return worker.rounds, given_to("pcpu0"), time.process_time_ns(), time.process_time_ns()
    theirs = 0 if neighbour is None else time_of(neighbour)
    return worker.rounds, worker.time, worker.time + theirs, given_to("pcpu")


def watch(worker: Worker, neighbour: Domain | None, pcpus: int, seconds: float) -> Rate:
    begun = counted(worker, neighbour, pcpus)
    while True:
        time.sleep(seconds / 20)
        now = counted(worker, neighbour, pcpus)
        rounds, own, both, given = (after - before for after, before in zip(now, begun, strict=True))
        if given >= seconds * 1e9:
            return Rate(rounds / given * 1e9, own / both)


def half_of(rates: list[Rate]) -> Rate:
    """What is fair."""
    return Rate(*(statistics.mean(getattr(rate, what) for rate in rates) / 2 for what in ("work", "time")))


@contextmanager
def plain(kind: str, program: Path) -> Iterator[None]:
    """Such a process, on the second processor; or nobody."""
    if kind == "nobody":
        yield
        return
    with subprocess.Popen([program, kind], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        os.sched_setaffinity(process.pid, sorted(os.sched_getaffinity(0))[1:])
        process.stdout.readline()  # it is at work
        try:
            yield
        finally:
            process.kill()


def measure(kinds: list[str], seconds: float, turns: int, pcpus: int, program: Path | None) -> dict[str, list[Figures]]:
    """Beside each, turn by turn."""
    found: dict[str, list[Figures]] = {kind: [] for kind in kinds}
    with neighbourhood(pcpus, "computes") as (machine, worker):
        if pcpus == 2:
            worker.domain.sched.pin(0, hard={0})
        for kind in kinds * turns:
            alone = [watch(worker, None, pcpus, seconds / 2)]
            place: AbstractContextManager[Domain | None]
            place = beside(machine, worker, kind) if program is None else plain(kind, program)
            with place as neighbour:
                if neighbour is not None and pcpus == 2:
                    neighbour.sched.pin(0, hard={1})
                time.sleep(seconds / 10)
                got = watch(worker, neighbour, pcpus, seconds * pcpus)
            alone.append(watch(worker, None, pcpus, seconds / 2))
            found[kind].append(got.over(half_of(alone)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(NEIGHBOURS))
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement (default: 1)")
    parser.add_argument("--turns", type=int, default=3, help="of all kinds (default: 3)")
    parser.add_argument("--pcpus", type=int, choices=(1, 2), default=1, help="that they share (default: 1)")
    parser.add_argument("--plain", action="store_true", help=f"plain processes beside it: {', '.join(PLAIN)}")
    options = parser.parse_args()
    known = PLAIN if options.plain else tuple(NEIGHBOURS)
    if strange := set(options.kinds) - set(known):
        parser.error(f"there is no {', '.join(sorted(strange))}: there are {', '.join(known)}")
    logging.disable(logging.WARNING)
    if options.pcpus == 2 or options.plain:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    with tempfile.TemporaryDirectory() as folder:
        program = None
        if options.plain:
            program = Path(folder, "plain")
            subprocess.run([compiler(), "-O2", "-Wall", "-o", program, SOURCE], check=True)
        found = measure(options.kinds or list(known), options.seconds, options.turns, options.pcpus, program)
    print(f"beside{'':20}  share   time  speed")
    for kind, turns in found.items():
        medians = (statistics.median(getattr(turn, what) for turn in turns) for what in ("share", "time", "speed"))
        speeds = [turn.speed for turn in turns]
        print(f"{kind:26}", *(f"{figure:6.2f}" for figure in medians), f"  {min(speeds):.2f} to {max(speeds):.2f}")


if __name__ == "__main__":
    main()
