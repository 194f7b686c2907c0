"""Programs in a guest beside the host's own speed: python -m bench.native [ROW ...] [--turns N] [--root DISK]

A Debian system with Python, gcc, sqlite, perl, git and xz is on everyone's disk, read-only, and what the programs write
is in memory (bench/programs.sh).  Everyone has one processor and 1 GB, the same kernel (User-Mode Linux has its own),
and waits while others are asked: row by row, in turns.  The host's column is a chroot of the same system.

Seconds, the best of the turns; and of each, how often the host's time that is.  Crossings, below, are bench/micro.c's.
"native" is --engine native, which has a process run natively where that pays; "all native" is without that choice.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import peers
from bench.contenders import Failed
from bench.drives import QEMU_DRIVE, Drive

MEMORY = 1024  # MiB, everyone's
PACKAGES = "python3,gcc,libc6-dev,sqlite3,xz-utils,git,perl"
ROWS = {
    "start": "python3 -c pass, 5 times",
    "pyfib": "python3, fib(29)",
    "json": "python3, json of 60,000 objects there and back",
    "xz": "xz -6 of 3 MB",
    "sha256": "sha256sum of 128 MB",
    "gcc": "gcc -O2, 250 small functions",
    "sqlite": "sqlite3, 200,000 rows and an index",
    "perl": "perl, 600,000 matches and a hash",
    "files": "find /usr; tar of /usr/share and python3",
    "true": "bash, 300 times /bin/true",
    "git": "git init, add, commit of perl's modules",
    "matmul": "C, matmul 256 x 256, double, 4 times",
    "fib": "C, fib(35)",
    "xorshift": "C, xorshift, 100 million",
}
INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod /modules/$module.ko; done
i=0
while [ ! -e /dev/{device} ] && [ $i -lt 100 ]; do /bin/busybox sleep 0.1; i=$((i+1)); done
/bin/busybox mount -t ext4 -o ro,noload /dev/{device} /root
/bin/busybox mount -t proc proc /root/proc
/bin/busybox mount -t devtmpfs dev /root/dev
/bin/busybox mount -t tmpfs tmp /root/tmp
/bin/busybox cp /programs.sh /micro /root/tmp/
/bin/busybox chroot /root {command}
exec /bin/busybox poweroff -f
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1] / "src")}
# The command, with an engine that it does not offer.
EAGER = """
import xenia.cli.run_options as options
from xenia.__main__ import main
options.ENGINES += ("eager",)
main()
"""
PROGRAMS, MICRO = "/bin/bash /tmp/programs.sh", "/tmp/micro"


@dataclass(frozen=True)
class Files:
    """What all have in common."""

    directory: Path
    root: Path
    kernel: Path
    busybox: bytes
    micro: bytes
    modules: Mapping[str, bytes]  # by name

    def initrd(self, name: str, device: str, command: str, modules: Iterable[str] = ()) -> Path:
        """An initramfs that mounts the disk and runs that in it."""
        from xenia.toolstack.provision.modules import load_order, read_modinfo

        infos = {module: read_modinfo(data, module) for module, data in self.modules.items()}
        order = load_order(modules, infos) if modules else []
        files = {"bin/": b"", "dev/": b"", "proc/": b"", "sys/": b"", "root/": b"", "modules/": b""}
        files["init"] = INIT.format(modules=" ".join(order), device=device, command=command).encode()
        files |= {"bin/busybox": self.busybox, "micro": self.micro}
        files["programs.sh"] = Path(__file__).with_name("programs.sh").read_bytes()
        files |= {f"modules/{module}.ko": self.modules[module] for module in order}
        path = self.directory / f"{name}.cpio"
        path.write_bytes(peers.archive(files))
        return path


Command = Callable[[Files, str], list[str]]


def xenia(engine: str) -> Command:
    """Xenia with that engine."""

    def command(files: Files, program: str) -> list[str]:
        initrd = files.initrd("xenia", "xvda", program, ("xen_blkfront", "ext4"))
        start = ("-m", "xenia") if engine != "eager" else ("-c", EAGER)
        return [
            *(sys.executable, *start, "run", "--quiet", "--net", "none", "--engine", engine),
            *("--memory", f"{MEMORY}M", "--disk", f"file:{files.root}:ro", "--kernel", str(files.kernel)),
            *("--initrd", str(initrd), "--append", "quiet"),
        ]

    return command


def qemu(files: Files, program: str) -> list[str]:
    """QEMU's emulator."""
    initrd = files.initrd("qemu", "vda", program, ("virtio_pci", "virtio_blk", "ext4"))
    return [
        *(peers.qemu(), "-accel", "tcg", "-cpu", "max", "-machine", "pc", "-m", str(MEMORY)),
        *("-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"),
        *("-kernel", str(files.kernel), "-initrd", str(initrd), "-append", "console=ttyS0 quiet"),
        *("-drive", f"file={files.root},{QEMU_DRIVE},if=none,id=disk,readonly=on"),
        *("-device", "virtio-blk-pci,drive=disk"),
    ]  # fmt: skip


def user_mode_linux(files: Files, program: str) -> list[str]:
    """Debian's User-Mode Linux."""
    initrd = files.initrd("uml", "ubda", program)
    return [
        *(peers.user_mode_linux(), f"mem={MEMORY}M", f"initrd={initrd}", f"ubd0r={files.root}"),
        *("con=null", "con0=fd:0,fd:1", "quiet"),
    ]


def host(files: Files, program: str) -> list[str]:
    """A chroot of the disk's files, in a mount namespace of its own.  Missing where that takes more than one may."""
    root = files.directory / "chroot"
    if os.geteuid():
        raise peers.Missing("only root can chroot")
    if not root.exists():
        root.mkdir()
        debugfs = peers.find("debugfs", "e2fsprogs")
        subprocess.run([debugfs, "-R", f"rdump / {root}", str(files.root)], check=True, capture_output=True)
        (root / "tmp" / "programs.sh").write_bytes(Path(__file__).with_name("programs.sh").read_bytes())
        (root / "tmp" / "micro").write_bytes(files.micro)
        (root / "tmp" / "micro").chmod(0o755)
    mounts = "mount -t proc proc $0/proc && mount --rbind /dev $0/dev && exec chroot $0"
    return [peers.find("unshare", "util-linux"), "--mount", "--", "sh", "-c", f"{mounts} {program}", str(root)]


CONTENDERS: dict[str, tuple[str, Command]] = {
    "host": ("host", host),
    "native": ("native", xenia("native")),
    "emulated": ("emulated", xenia("emulated")),
    "eager": ("all native", xenia("eager")),
    "qemu": ("QEMU TCG", qemu),
    "uml": ("UML", user_mode_linux),
}
Table = dict[str, dict[str, float]]  # seconds or ns, by row and contender


def rows(files: Files, names: list[str], wanted: list[str], turns: int) -> Table:
    """The programs, by turns."""
    found: Table = {row: {} for row in wanted}
    with ExitStack() as stack:
        running: dict[str, Drive] = {}
        for name in names:
            print(f"starting {CONTENDERS[name][0]}", file=sys.stderr)
            try:
                drive = Drive(CONTENDERS[name][1](files, PROGRAMS))
                stack.callback(drive.close)
                drive.wait_ready()
                running[name] = drive
            except (peers.Missing, Failed) as reason:
                print(f"{CONTENDERS[name][0]}: left out: {reason}", file=sys.stderr)
        for row in wanted:
            for name, drive in list(running.items()):
                try:
                    found[row][name] = drive.measure(row, turns).rate
                except Failed as reason:
                    print(f"{CONTENDERS[name][0]}: {row}: {reason}; it is out", file=sys.stderr)
                    drive.close()
                    del running[name]
            told = ", ".join(f"{CONTENDERS[name][0]} {seconds:.3f}" for name, seconds in found[row].items())
            print(f"{ROWS[row]}: {told}", file=sys.stderr)
    return found


def crossings(files: Files, names: list[str]) -> Table:
    """What the kernel does for a process, in ns, one guest after the other."""
    found: Table = {}
    for name in names:
        print(f"crossings of {CONTENDERS[name][0]}", file=sys.stderr)
        try:
            command = CONTENDERS[name][1](files, MICRO)
            answer = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=300, check=False, env=ENVIRONMENT
            )
        except (peers.Missing, subprocess.TimeoutExpired) as reason:
            print(f"{CONTENDERS[name][0]}: left out: {reason}", file=sys.stderr)
            continue
        for line in answer.stdout.decode("utf-8", "replace").splitlines():
            row, colon, value = line.strip().rpartition(": ")
            if colon and value.replace(".", "", 1).isdecimal():
                found.setdefault(row, {})[name] = float(value)
    return found


def show(table: Table, titles: Mapping[str, str], unit: str) -> None:
    """With how often the host's each is."""
    names = [name for name in CONTENDERS if any(name in cells for cells in table.values())]
    print(f"{unit:48}" + "".join(f"{CONTENDERS[name][0]:>18}" for name in names))
    for row, cells in table.items():
        line = f"{titles.get(row, row):48}"
        for name in names:
            if name not in cells:
                line += f"{'-':>18}"
                continue
            times = f"({cells[name] / cells['host']:.2f} x)" if "host" in cells and name != "host" else ""
            line += f"{cells[name]:10.3f}{times:>8}" if unit == "seconds" else f"{cells[name]:10.0f}{times:>8}"
        print(line)


def common(directory: Path, root: Path | None) -> Files:
    """What all have in common; the disk is built where none is given."""
    from bench.workload import static_program
    from xenia.testing.guests import Debian

    if root is None:
        root = directory / "root.img"
        command = [sys.executable, "-m", "xenia", "image", "build", "debian", "--include", PACKAGES, "--size", "3G"]
        subprocess.run([*command, "-o", str(root)], check=True, env=ENVIRONMENT)
    debian = Debian()
    kernel = debian.kernel()
    modules = peers.linux_modules(kernel.release, {"virtio_pci", "virtio_blk", "xen_blkfront", "ext4"})
    return Files(directory, root.resolve(), kernel.image, debian.busybox, static_program("micro"), modules)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", choices=[*ROWS, []], help=", ".join(ROWS))
    parser.add_argument("--turns", type=int, default=3, help="of each row (default: 3)")
    parser.add_argument("--only", default=",".join(CONTENDERS), help=f"of {', '.join(CONTENDERS)}; with commas")
    parser.add_argument("--root", type=Path, help="a disk that `xenia image build` made with what the rows need")
    parser.add_argument("--no-crossings", action="store_true", help="rows alone")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    names = options.only.split(",")
    with tempfile.TemporaryDirectory() as directory:
        files = common(Path(directory), options.root)
        tables = {"seconds": rows(files, names, options.rows or list(ROWS), options.turns)}
        if not options.no_crossings:
            tables["ns"] = crossings(files, names)
    if options.json:
        print(json.dumps(tables, indent=1))
        return 0
    for unit, table in tables.items():
        show(table, ROWS, unit)
    return 0


if __name__ == "__main__":
    sys.exit(main())
