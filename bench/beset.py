"""What a guest keeps of its traffic while another guest of its network sends all that it can straight at its card.

Two of Xenia's guests are on one network, and the host behind it: one is measured (with the host), the other floods it
with datagrams of 64 bytes that nobody listens for.  Told are the rates undisturbed, in turns with those beside the
flood, and the share that is left.
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
SETTLED = 0.3  # seconds of a flood before what it leaves is measured


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--tests", help=f"of {', '.join(TESTS)}; with commas")
    parser.add_argument("--milliseconds", type=int, default=1000, help="of each measurement (default: 1000)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tests = options.tests.split(",") if options.tests else list(TESTS)
    alone: dict[str, list[float]] = {test: [] for test in tests}
    left: dict[str, list[float]] = {test: [] for test in tests}
    floods: list[float] = []
    with tempfile.TemporaryDirectory() as folder, common(Path(folder)) as files, guests(files) as (beset, flooder):
        for _ in range(options.turns):
            for test in tests:
                alone[test].append(beset.measure(test, options.milliseconds).rate)
                lasts = options.milliseconds + int(1000 * SETTLED)
                flood = threading.Thread(target=lambda lasts=lasts: floods.append(flooder.measure("flood", lasts).rate))
                flood.start()
                time.sleep(SETTLED)
                left[test].append(beset.measure(test, options.milliseconds).rate)
                flood.join()
    print(f"the flood: {median(floods):.0f} datagrams a second")
    for test in tests:
        shares = [one / max(other, 1e-9) for one, other in zip(left[test], alone[test], strict=True)]
        print(f"{test:12}{median(alone[test]):10.0f}{median(left[test]):10.0f}{median(shares):8.2f} x", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
