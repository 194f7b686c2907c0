"""What single operations cost, on Xenia and on real Xen under QEMU: a tiny guest's, and Linux's.  Nanoseconds.

The tiny guest (guests/micro) times hypercalls, page-table updates one at a time and in batches, traps and events; a
static program (bench/micro.c) times what Linux makes of them.  Each figure is the best of several rounds in the guest.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", type=Path, help="a bzImage for the Linux part (default: Debian's, fetched once)")
    parser.add_argument("--busybox", type=Path, help="a static busybox (default: Debian's, fetched once)")
    parser.add_argument("--no-linux", action="store_true", help="the tiny guest only")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser.parse_args()


def figures(output: str) -> dict[str, float]:
    """The `name: ns` lines of a guest."""
    found = {}
    for line in output.splitlines():
        name, mark, value = line.rpartition(": ")
        if mark and value.replace(".", "", 1).strip().isdigit():
            found[name.strip()] = float(value)
    return found


def tiny() -> dict[str, dict[str, float]]:
    """The tiny guest on both."""
    from bench import contenders, peers
    from guests import build as guests

    kernel = guests.build("micro", guests.OUTPUT / "micro")
    results = {"Xenia": figures(contenders.xenia_console(kernel))}
    try:
        program = peers.Program(kernel.read_bytes(), seconds=120)
        answers = peers.real_xen({"micro": program}, arguments=peers.FASTEST)
        results["Xen in QEMU"] = figures("\n".join(answers["micro"].lines))
    except peers.Missing as reason:
        print(f"Xen in QEMU: left out: {reason}", file=sys.stderr)
    return results


def linux(kernel: Path | None, busybox: Path | None) -> dict[str, dict[str, float]]:
    """The static program in Linux, on everyone."""
    from bench import peers
    from bench.contenders import CONTENDERS, Failed
    from bench.workload import workload

    results = {}
    titles = {"xenia": "Xenia", "xen-domu": "Xen in QEMU", "qemu-pc": "QEMU", "uml": "UML"}
    with tempfile.TemporaryDirectory() as directory:
        work = workload(Path(directory), kernel=kernel, busybox=busybox, micro=True)
        for name, title in titles.items():
            try:
                results[title] = figures(CONTENDERS[name][1](work).output)
            except (peers.Missing, Failed) as reason:
                print(f"{title}: left out: {reason}", file=sys.stderr)
    return results


def main() -> int:
    options = arguments()
    results = [tiny()]
    if not options.no_linux:
        results.append(linux(options.kernel, options.busybox))
    if options.json:
        print(json.dumps(results, indent=1))
        return 0
    for table in results:
        columns = list(table)
        print(f"{'ns':46}" + "".join(f"{column:>14}" for column in columns) + f"{'Xenia is':>12}")
        for name in next(iter(table.values())):
            values = [table[column].get(name) for column in columns]
            cells = "".join(f"{value:14.1f}" if value is not None else f"{'':14}" for value in values)
            others = [value for value in values[1:] if value]
            ratio = f"{(values[0] or 0) / others[0]:10.3f} x" if others else ""
            print(f"{name:46}{cells}{ratio}")
        print()
    print("`Xenia is': Xenia's figure as a multiple of the second column's.")
    return 0


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    sys.exit(main())
