"""What a command in a guest takes, from its beginning to its end: `python -m bench.commands`.

`true` by `xenia exec` and by `ssh` in one running guest, in turns; and `xenia run -- true` whole, with everything
cached.  The guest is a Debian system that is built for it: --root takes one that is there, made by `xenia image build
debian --ssh-key KEY.pub`, and --key its private key.  The command is the one that is installed beside this interpreter.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.contenders import ROOT

XENIA = (str(Path(sysconfig.get_path("scripts"), "xenia")),)
NAME = f"bench-{os.getpid()}"
TIMEOUT = 600


def called(*words: str) -> subprocess.CompletedProcess[str]:
    """One command of Xenia's that has to go well."""
    return subprocess.run(
        [*XENIA, *words], check=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )


def seconds(command: Sequence[str]) -> float:
    """From its start to its end, which has to be good."""
    begun = time.monotonic()
    subprocess.run(command, check=True, timeout=TIMEOUT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return time.monotonic() - begun


def ssh_command(key: Path) -> list[str]:
    """The ssh that `xenia ssh` would become, so that it is not measured with Xenia's own start."""
    with tempfile.TemporaryDirectory() as folder:
        spy = Path(folder, "ssh")
        spy.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
        spy.chmod(0o755)
        environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
        words = subprocess.run(
            [*XENIA, "ssh", "-i", str(key), NAME, "true"],
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
    return ["ssh", *words.splitlines()]


def in_one_guest(root: Path, key: Path, runs: int) -> None:
    """exec and ssh, in turns."""
    called("run", "-q", "-d", "--name", NAME, "--root", f"{root},cow", "--memory", "512M", "--vcpus", "2")
    try:
        ways = {"xenia exec NAME true": [*XENIA, "exec", NAME, "true"], "ssh into the same": ssh_command(key)}
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(runs + 1):
            for name, command in ways.items():
                found[name].append(seconds(command))
        for name, times in found.items():
            tell(name, times[1:])  # the first finds nothing in the guest's memory
    finally:
        called("daemon", "--stop", "--force")


def tell(name: str, times: Sequence[float]) -> None:
    """A line of the table."""
    print(f"{name:<28}{1000 * median(times):10.1f} ms{1000 * min(times):10.1f} ms at best", flush=True)


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="a system with sshd and your key (default: one is built)")
    parser.add_argument("--key", type=Path, help="the private key that it lets in (default: one is made)")
    parser.add_argument("--runs", type=int, default=20, help="of exec and ssh each (default: 20)")
    options = parser.parse_args()
    if options.root is not None and options.key is None:
        parser.error("--root goes with --key")
    os.environ["PYTHONPATH"] = str(ROOT / "src")
    start = [sys.executable, "-c", "pass"]
    tell("an interpreter", [seconds(start) for _ in range(options.runs)])
    whole = [*XENIA, "run", "-q", "--net", "none", "--", "true"]
    seconds(whole)
    tell("xenia run -- true", [seconds(whole) for _ in range(5)])
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder  # with a daemon of its own
        root, key = options.root or Path(folder, "root.img"), options.key or Path(folder, "key")
        if options.key is None:
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        if options.root is None:
            called("image", "build", "debian", "--ssh-key", f"{key}.pub", "-o", str(root))
        in_one_guest(root, key, options.runs)


if __name__ == "__main__":
    main()
