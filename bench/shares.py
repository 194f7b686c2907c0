"""What domains that share pcpus get: `python -m bench.shares`.  On a host that has nothing else to do."""

from __future__ import annotations

import re
import time

from tests.guests.test_scheduler import MEMORY, spinning, times
from tests.guests.tiny import Running, kernel
from xenia.hypervisor.domain import create_domain
from xenia.hypervisor.machine import MachineHandle

SECONDS = 10


def main() -> None:
    """Weights, a cap, and how late one wakes that sleeps."""
    with spinning(1, 256, 512, 1024, check=False) as (_, domains, scheds):
        for domain in domains:
            domain.start()
        before = times(scheds)
        time.sleep(SECONDS)
        got = [after - ran for after, ran in zip(times(scheds), before, strict=True)]
    print(
        "weights 256, 512, 1024:",
        ", ".join(
            f"{700 * ran / sum(got) / share:.1f} % of its share" for ran, share in zip(got, (1, 2, 4), strict=True)
        ),
    )
    for rivals in ((), (256, 256)):
        with spinning(1, 256, *rivals, check=False) as (_, domains, scheds):
            scheds[0].cap = 25
            for domain in domains:
                domain.start()
            ran_before, began = times(scheds)[0], time.monotonic()
            time.sleep(SECONDS)
            ran, passed = times(scheds)[0] - ran_before, time.monotonic() - began
        print(f"cap 25, {len(rivals)} rivals: {ran / passed / 1e7:.2f} % of a pcpu")
    machine = MachineHandle(8 * MEMORY, scheduler="credit2", pcpus=1)
    burning = [create_domain(machine, kernel("spin"), memory=MEMORY) for _ in range(3)]
    with Running("naps", memory=MEMORY, machine=machine) as guest:
        for domain in burning:
            domain.start()
        guest.answer()
    for domain in burning:
        domain.destroy()
    print("one that sleeps beside three that burn wakes late by", *re.findall(r"median.*", guest.output.decode()))


if __name__ == "__main__":
    main()
