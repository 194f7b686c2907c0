"""Reboots a tiny guest until every domain number has been used, and round: each reboot is a new domain of the machine.

    python -m bench.reboots                 all of them: 32,751 numbers and a few more
    python -m bench.reboots --reboots 1000  fewer, begun so near the end that they go round all the same

It looks at the number, the memory and the descriptors after each, and tells how long it took.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import time

from guests import build as guests
from xenia.abi.xen import DOMID_FIRST_RESERVED
from xenia.domain.build.elf import load_elf
from xenia.hypervisor.domain import create_domain
from xenia.hypervisor.machine import MachineHandle
from xenia.shutdown import Reason

MIB = 1 << 20
NUMBERS = DOMID_FIRST_RESERVED - 1  # from 1 on


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reboots", type=int, default=NUMBERS + 100, help=f"how many (default: {NUMBERS + 100})")
    return parser.parse_args()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def main() -> None:
    wanted = arguments().reboots
    kernel = load_elf(guests.build("shutdown_reboot", guests.OUTPUT / "shutdown_reboot").read_bytes(), "a tiny guest")
    machine = MachineHandle(16 * MIB)
    machine.next_domid = number = 1 if wanted > NUMBERS else NUMBERS - wanted // 2
    begun, free, opened = time.monotonic(), machine.memory.nr_free, None
    for done in range(1, wanted + 1):
        domain = create_domain(machine, kernel, memory=8 * MIB)
        if domain.domid != number:
            raise SystemExit(f"domain {number} was due, and {domain.domid} came")
        domain.start()
        ended = domain.wait(60)
        if ended is None or ended.reason is not Reason.REBOOT:
            raise SystemExit(f"domain {number} did not reboot: {ended}")
        domain.destroy()
        del domain
        if machine.memory.nr_free != free:
            gc.collect()
            if machine.memory.nr_free != free:
                raise SystemExit(f"domain {number} kept {free - machine.memory.nr_free} frames")
        opened = opened if opened is not None else descriptors()
        if descriptors() > opened:
            raise SystemExit(f"domain {number} kept descriptors")
        number = number % NUMBERS + 1
        if done % 1000 == 0 or done == wanted:
            rate = done / (time.monotonic() - begun)
            resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
            print(
                f"{done} reboots, {rate:.0f} per second; the next is domain {number}; {resident} MiB at most",
                flush=True,
            )


if __name__ == "__main__":
    main()
