"""How fast data passes through a guest's command: into it, out of it, and through it, over rings and over the console.

The guest has the data in memory or throws it away.  Records move 4 MB.  The clock runs from the command's first word to
its last; medians.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = {
    "in": "echo go >&2; cat >/dev/null; echo done >&2",
    "out": "dd if=/dev/zero of=/tmp/x bs=1M count={megabytes} 2>/dev/null; echo go >&2; cat /tmp/x; echo done >&2",
    "both": "echo go >&2; cat; echo done >&2",
}
TRANSPORTS = {
    "rings, amd64": (),
    "rings, cloud-amd64": ("--flavour", "cloud-amd64"),
    "records on the console": ("--append", "module_blacklist=xen_gntalloc"),
}


def rate(options: tuple[str, ...], test: str, megabytes: int, data: Path) -> float:
    """MB/s of one run, whose output is compared with what it should be."""
    command = COMMANDS[test].format(megabytes=megabytes)
    with tempfile.TemporaryFile() as output, (data if test != "out" else Path(os.devnull)).open("rb") as stdin:
        run = subprocess.Popen(
            [sys.executable, "-m", "xenia", "run", "-q", "--memory", "512M", *options, "--", "sh", "-c", command],
            stdin=stdin, stdout=output, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )  # fmt: skip
        assert run.stderr is not None
        assert run.stderr.readline() == b"go\n"
        start = time.monotonic()
        assert run.stderr.readline() == b"done\n"
        seconds = time.monotonic() - start
        assert run.wait() == 0
        output.seek(0)
        expected = {"in": b"", "out": bytes(megabytes << 20), "both": data.read_bytes()}[test]
        assert output.read() == expected
    return megabytes / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{f'{options.megabytes} MB, MB/s':24}" + "".join(f"{test:>8}" for test in COMMANDS))
    with tempfile.NamedTemporaryFile() as file:
        file.write(os.urandom(options.megabytes << 20))
        file.flush()
        for name, words in TRANSPORTS.items():
            megabytes = options.megabytes if name.startswith("rings") else min(options.megabytes, 4)
            file.truncate(megabytes << 20)
            rates = [
                median(rate(words, test, megabytes, Path(file.name)) for _ in range(options.rounds))
                for test in COMMANDS
            ]
            print(f"{name:24}" + "".join(f"{value:8.0f}" for value in rates), flush=True)


if __name__ == "__main__":
    main()
