"""What a domain gets beside one that leaves nothing undone to hold it up: python -m bench.neighbours [KIND ...]

Both have one vcpu and the same weight, and share one pcpu.  Told is the worker's rate of work, in rounds by the time
that the host gives the pcpu's thread, over its fair share: half of what it does alone.  So it matters little what else
the host does; what Xenia's other threads take of the host is not in it.  Rates alone are taken before and after each
neighbour.  Medians of the turns.

With --pcpus 2 each has a pcpu, on two of the host's processors, and the time is that of all of Xenia's threads: of what
the host gives to both domains and whatever serves them half is the worker's.  On a host with nothing else to do.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.guests.neighbours import NEIGHBOURS, Worker, beside, neighbourhood

Clock = Callable[[], float]


def time_of_pcpus() -> float:
    """Seconds that the host has given their threads."""
    numbers = [thread.native_id for thread in threading.enumerate() if thread.name.startswith("pcpu")]
    return sum(int(Path(f"/proc/self/task/{number}/schedstat").read_text().split()[0]) for number in numbers) / 1e9


def rate(worker: Worker, seconds: float, clock: Clock) -> float:
    """Rounds a second."""
    begun, before = clock(), worker.rounds
    while (passed := clock() - begun) < seconds:
        time.sleep(seconds / 20)
    return (worker.rounds - before) / passed


def measure(kinds: list[str], seconds: float, turns: int, pcpus: int) -> dict[str, float]:
    """Of the worker's fair share, what it gets beside each."""
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    of_both: Clock = time_of_pcpus if pcpus == 1 else time.process_time
    with neighbourhood(pcpus, "computes") as (machine, worker):
        for _ in range(turns):
            for kind in kinds:
                before = rate(worker, seconds / 2, time_of_pcpus)
                with beside(machine, worker, kind):
                    time.sleep(seconds / 10)
                    got = rate(worker, seconds * pcpus, of_both)
                alone = (before + rate(worker, seconds / 2, time_of_pcpus)) / 2
                found[kind].append(got / (alone / 2))
    return {kind: statistics.median(shares) for kind, shares in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", choices=[*NEIGHBOURS, []], help=", ".join(NEIGHBOURS))
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement (default: 1)")
    parser.add_argument("--turns", type=int, default=3, help="of all kinds (default: 3)")
    parser.add_argument("--pcpus", type=int, choices=(1, 2), default=1, help="that they share (default: 1)")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    kinds = options.kinds or list(NEIGHBOURS)
    if options.pcpus == 2:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    shares = measure(kinds, options.seconds, options.turns, options.pcpus)
    for kind, share in shares.items():
        print(f"beside {kind:24} {share:6.2f} of its fair share")


if __name__ == "__main__":
    main()
