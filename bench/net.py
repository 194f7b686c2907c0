"""What a network does in a guest: Xenia beside QEMU's emulator with virtio-net, User-Mode Linux, passt and the host.

The same Debian kernel and the same program (bench/net.c) in everyone's guest (User-Mode Linux has a kernel of its own);
whom they talk to is that program again, on the host or in a second guest.  All that share a link run at once and take
turns, test by test.  The tables give medians: of the rates; of how Xenia's rate compares with each one's of the same
turn; and of the processor time that each MB, packet, answer or connection took the host, second guests, the network's
process and passt included (who answers on the host is not, nor is what its kernel does on others' account).
"""

from __future__ import annotations

import argparse
import json
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
if TYPE_CHECKING:
    from bench.cards import Card, Files, Start

TESTS = {
    "out1": "1 stream out of the guest, MB/s",
    "out8": "8 streams out, MB/s",
    "in1": "1 stream in, MB/s",
    "in8": "8 streams in, MB/s",
    "datagrams": "64-byte datagrams out, 1/s",
    "answers": "a byte there and back, 1/s",
    "connections": "connections, each for one answer, 1/s",
}


class Sample(NamedTuple):
    """One test of one card: its rate, and microseconds of the host's processors for each MB or operation."""

    rate: float
    work: float


Samples = dict[str, dict[str, list[Sample | None]]]  # by card, then by test, one a turn; None: it gave no answer


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two short rounds")
    parser.add_argument("--rounds", type=int, help="that count, after one that does not (default: 4; quick: 2)")
    parser.add_argument("--links", help="of user, tap, passt, stream and bridge; with commas")
    parser.add_argument("--tests", help=f"of {', '.join(TESTS)}; with commas")
    parser.add_argument("--json", action="store_true", help="print every rate and processor time as JSON")
    return parser.parse_args()


@contextmanager
def common(directory: Path) -> Iterator[Files]:
    """What all have in common, while the host answers."""
    from bench import cards, peers
    from bench.workload import static_program
    from xenia.testing.guests import Debian

    debian = Debian()
    kernel = debian.kernel()
    modules = peers.linux_modules(kernel.release, {*cards.VIRTIO, *cards.XEN})
    program = directory / "net"
    program.write_bytes(static_program("net"))
    program.chmod(0o755)
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([str(program), "serve", str(port)], stdout=subprocess.DEVNULL)
    try:
        yield cards.Files(directory, kernel.image, debian.busybox, program, modules, port)
    finally:
        server.kill()
        server.wait()


class Contenders:
    """Those of a link.  One that gives no answer is told of and started again; one that does not start is out."""

    def __init__(self, files: Files, starts: dict[str, tuple[str, Start]]) -> None:
        self._files, self._starts = files, starts
        self._running: dict[str, Card] = {}
        self.names: list[str] = []

    def start(self) -> None:
        """Start all that can be had here."""
        from bench.peers import Missing

        for name in self._starts:
            try:
                self._start(name)
                self.names.append(name)
            except Missing as reason:
                print(f"without {name}: {reason}", file=sys.stderr)

    def _start(self, name: str) -> None:
        from bench.contenders import Failed

        try:
            self._running[name] = self._starts[name][1](self._files)
            self._running[name].wait_ready()
        except Failed as reason:
            print(f"{name} does not start: {reason}", file=sys.stderr)
            self._end(name)

    def _end(self, name: str) -> None:
        card = self._running.pop(name, None)
        if card is not None:
            card.close()

    def close(self) -> None:
        """End them all."""
        for name in list(self._running):
            self._end(name)

    def measure(self, name: str, test: str, milliseconds: int) -> Sample | None:
        """One test of one of them; None when it does not answer."""
        from bench.contenders import Failed

        card = self._running.get(name)
        if card is None:
            return None
        try:
            before = card.processor_time()
            measured = card.measure(test, milliseconds)
            spent = card.processor_time() - before
        except (Failed, OSError) as reason:
            print(f"{name}: {test}: {reason}", file=sys.stderr)
            self._end(name)
            self._start(name)
            return None
        return Sample(measured.rate, 1e6 * spent / max(measured.rate * measured.seconds, 1e-9))


def measure(contenders: Contenders, tests: list[str], rounds: int, milliseconds: int) -> Samples:
    """Every test of every card, in turns.  A first round is not counted: emulators translate what they run later."""
    samples: Samples = {name: {test: [] for test in tests} for name in contenders.names}
    for number in range(rounds + 1):
        for test in tests:
            for name in contenders.names:
                sample = contenders.measure(name, test, milliseconds)
                if number:
                    samples[name][test].append(sample)
    return samples


def measure_link(files: Files, starts: dict[str, tuple[str, Start]], tests: list[str], rounds: int, ms: int) -> Samples:
    """All that can be had of a link."""
    from bench.cards import remove_taps

    contenders = Contenders(files, starts)
    try:
        contenders.start()
        return measure(contenders, tests, rounds, ms)
    finally:
        contenders.close()
        remove_taps()


def cell(values: list[float], form: str) -> str:
    """The median of what there is, or a dash."""
    return f"{format(median(values), form) if values else '-':>17}"


def show(title: str, samples: Samples, titles: dict[str, str]) -> None:
    """A table; the first column is Xenia's.  A dash is for who never answered."""
    first = next(iter(samples.values()))
    print(f"\n{title:38}" + "".join(f"{titles[name]:>17}" for name in samples))
    for test in first:
        rates = [[one.rate for one in of[test] if one] for of in samples.values()]
        ratios = [
            [
                mine.rate / max(other.rate, 1e-9)
                for mine, other in zip(first[test], of[test], strict=True)
                if mine and other
            ]
            for of in samples.values()
        ]
        works = [[one.work for one in of[test] if one] for of in samples.values()]
        print(f"{TESTS[test]:38}" + "".join(cell(each, ".0f") for each in rates))
        print(f"{'Xenia is, x':>38}" + "".join(cell(each, ".2f") for each in ratios))
        print(f"{'processor time, us':>38}" + "".join(cell(each, ".0f") for each in works), flush=True)


def main() -> int:
    from bench.cards import LINKS

    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    tests = options.tests.split(",") if options.tests else list(TESTS)
    rounds = options.rounds or (2 if options.quick else 4)
    everything: dict[str, Samples] = {}
    with tempfile.TemporaryDirectory() as directory, common(Path(directory)) as files:
        for link in options.links.split(",") if options.links else LINKS:
            title, starts = LINKS[link]
            print(f"measuring {title}", file=sys.stderr)
            everything[link] = measure_link(files, starts, tests, rounds, 700 if options.quick else 1500)
            if everything[link] and not options.json:
                show(title, everything[link], {name: told for name, (told, _) in starts.items()})
    if options.json:
        print(json.dumps(everything))
    return 0


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    raise SystemExit(main())
