"""What a disk does in a guest: Xenia beside QEMU's emulator, User-Mode Linux and the host; and what each layer costs.

The same Debian kernel and the same program (bench/io.c) in everyone's guest, and a copy of the same file below
(User-Mode Linux has a kernel of its own).  They all run at once and take turns, test by test.  The tables give medians:
of the rates; of how Xenia's rate compares with each one's of the same turn; and of the processor time that each MB or
operation took the host, all of the guest included, which other work on the host changes least (a server's is not in
it).  Nobody goes past the host's page cache, which holds the files: QEMU's drives have cache=writeback, Xenia's and
User-Mode Linux's know nothing else, and the host's own column is the program on the file, through the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bench.drives import Drive, Files

ROOT = Path(__file__).resolve().parents[1]
TESTS = {
    "read": "read 1 MB, sequential, MB/s",
    "write": "write 1 MB, sequential, MB/s",
    "ahead": "read through the guest's cache, MB/s",
    "behind": "write through it, fsync each 8 MB, MB/s",
    "read1": "read 4 KB at random, 1/s",
    "write1": "write 4 KB at random, 1/s",
    "read32": "read 4 KB at random, 32 deep, 1/s",
    "write32": "write 4 KB at random, 32 deep, 1/s",
    "fsync": "write 4 KB and fsync, 1/s",
}


class Sample(NamedTuple):
    """One test of one drive: its rate, and microseconds of the host's processors for each MB or operation."""

    rate: float
    work: float


Samples = dict[str, dict[str, list[Sample]]]  # by drive, then by test


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round, and no layers")
    parser.add_argument(
        "--rounds", type=int, help="times that each test is run by each, and once more before (default: 4; quick: 3)"
    )
    parser.add_argument("--only", help="of xenia, small, virtio, ide, uml, host and the layers; with commas")
    parser.add_argument("--tests", help=f"of {', '.join(TESTS)}; with commas")
    parser.add_argument("--size", type=int, default=128, metavar="MB", help="of the file (default: 128)")
    parser.add_argument("--directory", type=Path, help="where the files are (default: the temporary directory)")
    parser.add_argument("--kernel", type=Path, help="a bzImage (default: Debian's, fetched once)")
    parser.add_argument("--busybox", type=Path, help="a static busybox (default: Debian's, fetched once)")
    parser.add_argument("--json", action="store_true", help="print every rate and processor time as JSON")
    return parser.parse_args()


def files(options: argparse.Namespace, directory: Path) -> Files:
    """What all have in common."""
    from bench import drives, peers
    from bench.workload import static_program
    from xenia.testing.guests import Debian

    debian = Debian()
    kernel = debian.kernel()
    modules = peers.linux_modules(kernel.release, {*drives.VIRTIO, *drives.IDE, *drives.XEN})
    master = directory / "master"
    with master.open("wb") as file:
        for _ in range(options.size):
            # As compressible as most data: a quarter is noise.
            file.write(b"".join(os.urandom(1024) + bytes(range(256)) * 12 for _ in range(256)))
    busybox = options.busybox.read_bytes() if options.busybox is not None else debian.busybox
    return drives.Files(directory, options.kernel or kernel.image, busybox, static_program("io"), modules, master)


def settle(directory: Path) -> None:
    """Write out what is in the host's cache, so that nobody pays for what another one wrote."""
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def measure(
    running: dict[str, Drive], directory: Path, tests: Iterable[str], rounds: int, milliseconds: int
) -> Samples:
    """Every test of every drive, in turns.  A first round is not counted: emulators translate what they run later."""
    from bench.contenders import Failed

    samples: Samples = {name: {test: [] for test in tests} for name in running}
    for number in range(rounds + 1):
        for test in tests:
            print(f"round {number}/{rounds}: {TESTS[test]}", file=sys.stderr)
            for name, drive in running.items():
                settle(directory)
                try:
                    before = drive.processor_time()
                    measured = drive.measure(test, milliseconds)
                    spent = drive.processor_time() - before
                    if number:
                        work = 1e6 * spent / (measured.rate * measured.seconds)
                        samples[name][test].append(Sample(measured.rate, work))
                except Failed as reason:
                    raise SystemExit(f"{name}: {reason}") from None
    return samples


def show(samples: Samples, titles: dict[str, str], layers: bool) -> None:
    """A table; the first column is Xenia's, on a bare file."""
    first = next(iter(samples.values()))
    print(f"{'':38}" + "".join(f"{titles[name]:>17}" for name in samples))
    for test in first:
        print(f"{TESTS[test]:38}" + "".join(f"{median(one.rate for one in of[test]):17.0f}" for of in samples.values()))
        cells = []
        for of in samples.values():
            ratios = [mine.rate / other.rate for mine, other in zip(first[test], of[test], strict=True)]
            cells.append(1 / median(ratios) if layers else median(ratios))
        print(f"{'of the bare file' if layers else 'Xenia is':>38}" + "".join(f"{cell:15.2f} x" for cell in cells))
        works = [median(one.work for one in of[test]) for of in samples.values()]
        print(f"{'processor time, us':>38}" + "".join(f"{work:17.0f}" for work in works))


def main() -> int:
    from bench import peers
    from bench.contenders import Failed
    from bench.drives import DRIVES, LAYERS

    options = arguments()
    everyone = DRIVES if options.quick else DRIVES | LAYERS
    names = options.only.split(",") if options.only else list(everyone)
    tests = options.tests.split(",") if options.tests else list(TESTS)
    rounds = options.rounds or (3 if options.quick else 4)
    titles = {name: title for name, (title, _) in (DRIVES | LAYERS).items()}
    running: dict[str, Drive] = {}
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        common = files(options, Path(directory))
        try:
            for name in names:
                print(f"starting {titles[name]}", file=sys.stderr)
                try:
                    drive = running[name] = (DRIVES | LAYERS)[name][1](common)
                    drive.wait_ready()
                except (peers.Missing, Failed) as reason:
                    print(f"{titles[name]}: left out: {reason}", file=sys.stderr)
                    if name in running:
                        running.pop(name).close()
            samples = measure(running, Path(directory), tests, rounds, 200 if options.quick else 300)
        finally:
            for drive in running.values():
                drive.close()
    if options.json:
        print(json.dumps(samples, indent=1))
        return 0
    for group in (DRIVES, {"xenia": DRIVES["xenia"], **LAYERS}):
        part = {name: samples[name] for name in group if name in samples}
        if "xenia" in part and len(part) > 1:
            show(part, titles | ({} if group is DRIVES else {"xenia": "file"}), group is not DRIVES)
    return 0


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    sys.exit(main())
