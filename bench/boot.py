"""Boot Linux to a small piece of work and power off: Xenia beside every other way to do it without KVM.

The same Debian kernel, the same initramfs and the same memory for everyone (User-Mode Linux has a kernel of its own).
What is timed is the whole process, from its start to its exit.  Runs are interleaved; the table gives medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="runs of each (default: 5)")
    parser.add_argument(
        "--only", help="some, with commas: xenia, warped, qemu-pc, -q35, -pvh, -microvm, uml, xen-domu, xen-dom0"
    )
    parser.add_argument("--kernel", type=Path, help="a bzImage (default: Debian's, fetched once)")
    parser.add_argument("--busybox", type=Path, help="a static busybox (default: Debian's, fetched once)")
    parser.add_argument("--json", action="store_true", help="print every run as JSON")
    return parser.parse_args()


def main() -> int:
    from bench import peers
    from bench.contenders import CONTENDERS, Failed, Run
    from bench.workload import workload

    options = arguments()
    names = options.only.split(",") if options.only else list(CONTENDERS)
    runs: dict[str, list[Run]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as directory:
        work = workload(Path(directory), kernel=options.kernel, busybox=options.busybox)
        for number in range(options.runs):
            for name in list(runs):
                title, contender = CONTENDERS[name]
                print(f"run {number + 1}/{options.runs}: {title}", file=sys.stderr)
                try:
                    runs[name].append(contender(work))
                except (peers.Missing, Failed) as reason:
                    print(f"{title}: left out: {reason}", file=sys.stderr)
                    del runs[name]
    if options.json:
        print(json.dumps({name: [run.seconds for run in done] for name, done in runs.items()}, indent=1))
        return 0
    medians = {name: statistics.median(run.seconds for run in done) for name, done in runs.items()}
    base = medians.get("xenia")
    print(f"{'':36} {'median':>8} {'fastest':>8} {'slowest':>8} {'peak RSS':>9} {'Xenia is':>9}")
    for name, median in sorted(medians.items(), key=lambda item: item[1]):
        seconds = [run.seconds for run in runs[name]]
        peak = max(run.peak for run in runs[name]) >> 10
        ratio = f"{base / median:.2f} x" if base else ""
        memory = f"{peak} MB" if peak else ""
        times = f"{median:6.2f} s {min(seconds):6.2f} s {max(seconds):6.2f} s"
        print(f"{CONTENDERS[name][0]:36} {times} {memory:>9} {ratio:>9}")
    print("`Xenia is': Xenia's median, real time, as a multiple of this one's; less than 1 means that Xenia is faster.")
    return 0


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    sys.exit(main())
