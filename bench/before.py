"""This clone beside another one, built from before a change: a boot, single operations, and disks.

python bench/before.py CLONE

The two take turns, so that what else the host does falls on both.  Medians; of single operations the best, in ns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clone", type=Path, help="the other clone; its .venv is there, and what it compiles")
    parser.add_argument("--runs", type=int, default=5, help="turns of each (default: 5)")
    parser.add_argument("--only", default="boot,micro,io", help="some of these (default: %(default)s)")
    return parser.parse_args()


def boot(clone: Path, directory: Path) -> dict[str, float]:
    """Seconds of a boot with a piece of work."""
    from bench import contenders
    from bench.workload import workload

    work = workload(directory, kernel=None, busybox=None)
    return {"boot, work and power off, s": contenders.xenia("real", clone)(work).seconds}


def micro(clone: Path, directory: Path) -> dict[str, float]:
    """ns of single operations: a tiny guest's, and Linux's."""
    from bench import contenders
    from bench.micro import figures
    from bench.workload import workload
    from guests import build as guests

    kernel = guests.build("micro", guests.OUTPUT / "micro")
    found = figures(contenders.xenia_console(kernel, clone=clone))
    work = workload(directory, kernel=None, busybox=None, micro=True)
    return found | figures(contenders.xenia("real", clone)(work).output)


def io(clone: Path, directory: Path) -> dict[str, float]:
    """MB/s or operations/s of a disk, by the clone's own benchmark."""
    command = [str(clone / ".venv/bin/python"), "bench/io.py", "--quick", "--only", "xenia", "--json"]
    command += ["--directory", str(directory)]
    answer = subprocess.run(command, cwd=clone, check=True, capture_output=True, text=True)
    rounds: dict[str, list[tuple[float, float]]] = json.loads(answer.stdout)["xenia"]
    return {f"disk: {test}": statistics.median(rate for rate, _ in samples) for test, samples in rounds.items()}


Measure = Callable[[Path, Path], dict[str, float]]
Choose = Callable[[list[float]], float]
PARTS: dict[str, tuple[Measure, Choose]] = {
    "boot": (boot, statistics.median),
    "micro": (micro, min),
    "io": (io, statistics.median),
}


def main() -> int:
    options = arguments()
    print(f"{'':46}{'before':>12}{'after':>12}{'ratio':>10}")
    for part in options.only.split(","):
        measure, choose = PARTS[part]
        results: dict[Path, dict[str, list[float]]] = {options.clone.resolve(): {}, ROOT: {}}
        with tempfile.TemporaryDirectory() as directory:
            for _ in range(options.runs):
                for clone, found in results.items():
                    for name, value in measure(clone, Path(directory)).items():
                        found.setdefault(name, []).append(value)
        before, after = results.values()
        for name, values in after.items():
            old, new = choose(before[name]), choose(values)
            print(f"{name:46}{old:12.2f}{new:12.2f}{new / old:9.2f} x", flush=True)
    return 0


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    sys.exit(main())
