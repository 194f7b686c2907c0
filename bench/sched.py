"""Decisions of the credit scheduler a second, with so many simulated vcpus: `python -m bench.sched [VCPUS ...]`."""

from __future__ import annotations

import random
import sys
import time

from xenia.testing.scheduler import ScheduledDomain, ScheduledVcpu, Scheduler

PCPUS = 16
DECISIONS = 200_000


def measure(vcpus: int, sleepers: bool) -> float:
    """Decisions a second, of a machine that is never idle.  With sleepers each goes with a wake-up and a sleep."""
    scheduler = Scheduler("credit", PCPUS)
    pick = random.Random(1)
    domains = [ScheduledDomain(pick.choice([128, 256, 512, 1024])) for _ in range(max(vcpus // 4, 1))]
    everybody = [ScheduledVcpu(domains[number % len(domains)]) for number in range(vcpus)]
    now = 1
    for vcpu in everybody:
        scheduler.add(vcpu)
        scheduler.wake(vcpu, now)
    asleep: list[ScheduledVcpu] = []
    began = time.perf_counter()
    for number in range(DECISIONS):
        now += 1_100_000 // PCPUS
        chosen, _, _ = scheduler.pick(number % PCPUS, now)
        if sleepers and chosen is not None:
            scheduler.sleep(chosen, now)
            asleep.append(chosen)
            if len(asleep) > vcpus // 2:
                scheduler.wake(asleep.pop(0), now)
    return DECISIONS / (time.perf_counter() - began)


def main() -> None:
    """Tell it for each number of vcpus."""
    print(f"{'vcpus':>8} {'busy':>12} {'sleeping':>12}   decisions a second, {PCPUS} pcpus, asked from Python")
    for vcpus in [int(word) for word in sys.argv[1:]] or [10, 100, 1000, 10_000]:
        print(f"{vcpus:>8} {measure(vcpus, False):>12,.0f} {measure(vcpus, True):>12,.0f}")


if __name__ == "__main__":
    main()
