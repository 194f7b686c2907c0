"""Where the host's time goes while a guest runs: samples of the vcpu's thread, by the code they fell in.

Runs the micro guest (hypercalls, page-table updates, traps, events in tight loops), or boots Linux, under `perf record`
for the one thread that runs the vcpu.  The interpreter's share must be nothing: the hot path never enters it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--linux", action="store_true", help="boot Debian's kernel with bench/boot.py's work instead")
    parser.add_argument(
        "--symbols",
        type=int,
        default=0,
        metavar="N",
        help="show the N hottest functions too (the engine has names if built with XENIA_SYMBOLS=1)",
    )
    return parser.parse_args()


def vcpu_thread() -> int:
    """The native id of the thread that runs the vcpu."""
    return next(thread.native_id for thread in threading.enumerate() if thread.name == "d1v0" and thread.native_id)


def record(data: Path) -> subprocess.Popen[bytes]:
    """perf, which samples this process and the threads that it starts, and has begun."""
    read_control, write_control = os.pipe()
    read_answer, write_answer = os.pipe()
    perf = subprocess.Popen(
        [
            *("perf", "record", "-q", "-F", "4999", "-p", str(os.getpid()), "-o", str(data)),
            *("--delay", "-1", "--control", f"fd:{read_control},{write_answer}"),
        ],
        pass_fds=(read_control, write_answer),
    )
    os.close(read_control)
    os.close(write_answer)
    os.write(write_control, b"enable\n")
    if not os.read(read_answer, 5):
        raise SystemExit("perf recorded nothing: may it sample here (kernel.perf_event_paranoid)?")
    return perf


def sample(linux: bool, directory: Path) -> tuple[Path, int]:
    """Run the guest, and perf beside it; the file perf wrote, and the thread in it that ran the vcpu."""
    from bench.workload import workload
    from guests import build as guests
    from xenia import Machine

    memory = 256 << 20
    data = directory / "perf.data"
    if linux:
        work = workload(directory, kernel=None, busybox=None)
        kernel, initrd, words = work.kernel, work.initrd, "quiet"
    else:
        kernel, initrd, words = guests.build("micro", guests.OUTPUT / "micro"), None, ""
    with Machine(Machine.memory_for(memory)) as machine:
        domain = machine.create_domain(kernel, initrd=initrd, cmdline=words, memory=memory)
        perf = record(data)
        domain.start()
        thread = vcpu_thread()
        domain.wait()
        perf.send_signal(signal.SIGINT)
        perf.wait()
    return data, thread


def report(data: Path, thread: int, order: str) -> list[tuple[float, str]]:
    """(percent, name) of what the samples fell in, most first."""
    lines = subprocess.run(
        ["perf", "report", "-i", str(data), "--tid", str(thread), "--stdio", "-g", "none", "--sort", order],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    rows = [re.match(r"\s+([0-9.]+)%\s+(.*\S)", line) for line in lines if not line.startswith("#")]
    return [(float(row[1]), row[2]) for row in rows if row]


def kind_of(dso: str) -> str:
    """What a shared object is to us."""
    name = dso.split(".")[0]
    if "JIT" in dso or "perf-" in dso:
        return "guest code, translated"
    if name == "engine":
        return "the engine: translating, page walks"
    if dso.startswith("libpython") or name.startswith("python"):
        return "the interpreter"
    if "kernel" in dso:
        return "the host's kernel"
    return "the hypervisor's rules" if "cpython" in dso else "the C library"


def main() -> int:
    options = arguments()
    if shutil.which("perf") is None:
        print("perf is not installed (Debian: linux-perf)", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as directory:
        data, thread = sample(options.linux, Path(directory))
        shares: dict[str, float] = {}
        for percent, dso in report(data, thread, "dso"):
            shares[kind_of(dso)] = shares.get(kind_of(dso), 0.0) + percent
        shares.setdefault("the interpreter", 0.0)
        for kind, percent in sorted(shares.items(), key=lambda item: -item[1]):
            print(f"{percent:6.2f} %  {kind}")
        for percent, symbol in report(data, thread, "dso,symbol")[: options.symbols]:
            print(f"{percent:6.2f} %  {symbol}")
    return 0


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    sys.exit(main())
