"""What a guest keeps of its traffic while another guest of its network sends all that it can straight at its card.

Two of Xenia's guests are on one network, and the host behind it: one is measured (with the host), the other floods it
with datagrams of 64 bytes that nobody listens for (flood), or everybody (shout).  Told are the rates undisturbed, in
turns with those while the other guest computes and sends nothing and with those beside the floods, and the shares that
are left: what computing leaves is what a processor that is kept busy takes, whatever it does; the last columns hold the
floods' shares against it.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench.cards import GATEWAY, ROOT, XEN, Card, Files, measure, xenia_command
from bench.net import common
from xenia.toolstack.networks.named import show

CLOSED = 9
TESTS = ("answers", "connections", "datagrams", "in1", "out1")
DISTURBANCES = ("compute", "flood", "shout")
SETTLED = 0.3  # seconds of a disturbance before what it leaves is measured


@contextmanager
def guests(files: Files) -> Iterator[tuple[Card, Card]]:
    """The one that is measured, and who floods it."""
    name = f"beset{os.getpid()}"
    command = [sys.executable, "-m", "bench.network", name, str(files.port)]
    network = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    made: list[Card] = []

    def start(card: str, arguments: str) -> Card:
        made.append(Card(xenia_command(files, files.initrd(card, "eth0", XEN, arguments), "--net", f"bridge={name}")))
        return made[-1]

    try:
        assert network.stdout is not None
        network.stdout.readline()
        beset = start("beset", measure(GATEWAY, files.port))
        beset.wait_ready()
        (address,) = (port["ip"] for port in show(name)["ports"] if port["name"] == "beset")
        flooder = start("flooder", measure(address, CLOSED))
        flooder.wait_ready()
        yield beset, flooder
    finally:
        for card in made:
            card.close()
        network.terminate()
        network.wait()


@contextmanager
def disturbed(other: Card, what: str, milliseconds: int, rates: list[float]) -> Iterator[None]:
    """While the other guest does that; how much of it goes to `rates`."""
    lasts = milliseconds + int(1000 * SETTLED)
    thread = threading.Thread(target=lambda: rates.append(other.measure(what, lasts).rate))
    thread.start()
    time.sleep(SETTLED)
    yield
    thread.join()


def share(rates: list[float], others: list[float]) -> float:
    """What the first are of the second ones, turn by turn."""
    return median(one / max(other, 1e-9) for one, other in zip(rates, others, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--tests", help=f"of {', '.join(TESTS)}; with commas")
    parser.add_argument("--milliseconds", type=int, default=1000, help="of each measurement (default: 1000)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tests = options.tests.split(",") if options.tests else list(TESTS)
    alone: dict[str, list[float]] = {test: [] for test in tests}
    left: dict[str, dict[str, list[float]]] = {test: {what: [] for what in DISTURBANCES} for test in tests}
    rates: dict[str, list[float]] = {what: [] for what in DISTURBANCES}
    with tempfile.TemporaryDirectory() as folder, common(Path(folder)) as files, guests(files) as (beset, other):
        for _ in range(options.turns):
            for test in tests:
                alone[test].append(beset.measure(test, options.milliseconds).rate)
                for what in DISTURBANCES:
                    with disturbed(other, what, options.milliseconds, rates[what]):
                        left[test][what].append(beset.measure(test, options.milliseconds).rate)
    for what in DISTURBANCES[1:]:
        print(f"the {what}: {median(rates[what]):.0f} datagrams a second")
    compared = [f"{what}, of compute" for what in DISTURBANCES[1:]]
    print(f"{'':12}{'alone':>10}" + "".join(f"{what:>22}" for what in (*DISTURBANCES, *compared)))
    for test in tests:
        cells = [f"{median(rate):12.0f}{share(rate, alone[test]):8.2f} x" for rate in left[test].values()]
        cells += [f"{share(left[test][what], left[test]['compute']):20.2f} x" for what in DISTURBANCES[1:]]
        print(f"{test:12}{median(alone[test]):10.0f}{''.join(cells)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
