"""What Xenia costs beside the guest: memory of the process above the guest's own, and time until something happens."""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MEMORY = 256


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="runs of each (default: 5)")
    parser.add_argument("--kernel", type=Path, help="a bzImage (default: Debian's, fetched once)")
    parser.add_argument("--busybox", type=Path, help="a static busybox (default: Debian's, fetched once)")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def resident(pid: int) -> tuple[int, int]:
    """KiB of proportional memory of a process: in the machine's memory (a memfd), and in everything else."""
    machine = other = 0
    in_machine = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            in_machine = "memfd:" in line
        elif line.startswith("Pss:"):
            size = int(line.split()[1])
            machine, other = (machine + size, other) if in_machine else (machine, other + size)
    return machine, other


def start(kernel: Path, initrd: Path | None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "xenia", "run", "--quiet", "--memory", f"{MEMORY}M", "--kernel", str(kernel)]
    if initrd is not None:
        command += ["--initrd", str(initrd)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


def until(process: subprocess.Popen[bytes], marker: bytes) -> float:
    """Seconds until the guest writes the marker."""
    begun = time.monotonic()
    seen = b""
    assert process.stdout is not None
    while marker not in seen:
        data = os.read(process.stdout.fileno(), 65536)
        if not data:
            raise SystemExit(f"the guest ended before it wrote {marker!r}")
        seen += data
    return time.monotonic() - begun


def help_time() -> float:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    begun = time.monotonic()
    subprocess.run([sys.executable, "-m", "xenia", "--help"], stdout=subprocess.DEVNULL, check=True, env=environment)
    return time.monotonic() - begun


def main() -> int:
    from bench.workload import INTERACTIVE, workload

    options = arguments()
    found: dict[str, float] = {"xenia --help, s": statistics.median(help_time() for _ in range(options.runs))}
    with tempfile.TemporaryDirectory() as directory:
        work = workload(Path(directory), kernel=options.kernel, busybox=options.busybox, init=INTERACTIVE)
        first = []
        for _ in range(options.runs):
            process = start(work.kernel, work.initrd)
            first.append(until(process, b"Linux version"))
            process.kill()
            process.wait()
        found["run to the kernel's first line, s"] = statistics.median(first)
        process = start(work.kernel, work.initrd)
        found["run to the first program, s"] = until(process, b"bench done")
        time.sleep(1)
        machine, other = resident(process.pid)
        process.kill()
        process.wait()
    found["machine memory in use, MB"] = machine / 1024
    found["memory above the machine's, MB"] = other / 1024
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        for name, value in found.items():
            print(f"{name:36} {value:8.2f}")
    return 0


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    sys.exit(main())
