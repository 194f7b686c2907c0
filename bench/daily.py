"""A day's work on a folder of the host's, seen in a guest: Xenia's share beside QEMU's virtio-9p under its emulator,
User-Mode Linux's hostfs and the host itself: `python -m bench.daily`.  What commands take: `python -m bench.commands`.

Everybody sees the host's whole file system, and does the same in it with the host's own programs: `git status` and
`find -ls` of 10,000 files (--files), 64 MB written and read, `make -j2` of a small C project.  Seconds are those of the
guest's clock, of one step after the other; each contender is run alone, in turns.

Linux's client of 9P may keep what it has seen (`cache=`).  With `mmap`, as Xenia's agent mounts, it asks the host for
all but mapped pages, and what either side changes the other sees at once; with `loose` it believes that nobody else
changes anything, which is each server's best.  Both are mounted in both ways, by the same kernel with the same options.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

from bench import peers
from bench.contenders import ROOT, said

MEMORY = 512  # MiB, everyone's
TIMEOUT = 500  # seconds of each
OPTIONS = "version=9p2000.L,access=any,msize=524288"
STEPS = {
    "git": "git status, s", "again": "git status again, s", "find": "find -ls, s",
    "write": "write 64 MB, fsync, s", "read": "read 64 MB, s", "make": "make -j2, 8 files of C, s",
}  # fmt: skip
SCRIPT = """#!/bin/sh
PATH=/usr/bin:/bin; export PATH HOME=/nonexistent GIT_CONFIG_GLOBAL=/dev/null
step() {
    read a _ < /proc/uptime; sh -c "$2" >/dev/null 2>/tmp/err || cat /tmp/err; read b _ < /proc/uptime
    echo "step $1 $a $b"
}
cd @PLACE@
step git 'cd tree && git -c safe.directory="*" status --porcelain'
step again 'cd tree && git -c safe.directory="*" status --porcelain'
step find 'find tree -ls'
step write 'dd if=/dev/zero of=written bs=1M count=64 conv=fsync'
step read 'dd if=data of=/dev/null bs=1M'
step make 'cd project && make -j2'
echo bench done
"""
INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc; $b mount -t devtmpfs dev /dev
for m in $($b cat /modules/order 2>/dev/null); do $b insmod /modules/$m.ko; done
$b mount @MOUNT@ /h
export PATH=/bin; for a in mount mkdir chroot sh; do $b ln -s busybox /bin/$a; done
@WORK@
exec $b poweroff -f
"""
WORK = """mkdir /r; mount -t tmpfs none /r; mkdir /r/tmp /r/dev /r/proc
for d in bin lib lib64 usr etc var; do mkdir /r/$d; mount -o bind /h/$d /r/$d; done
mount -o bind /dev /r/dev; mount -t proc proc /r/proc; chroot /r /bin/sh @PLACE@/steps"""
SOURCE = """#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int function_%d(int argc, char **argv) {
    char text[64];
    for (int i = 0; i < argc; i++) { snprintf(text, sizeof text, "%%s %%zu", argv[i], strlen(argv[i])); puts(text); }
    return atoi(text);
}
"""


def prepare(place: Path, files: int) -> None:
    """The files that are worked on."""
    tree, project = place / "tree", place / "project"
    for number in range(files):
        file = tree / f"{number // 1000}" / f"{number // 50 % 20}" / f"file{number}"
        if number % 50 == 0:
            file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"content of {number}\n")
    git = ["git", "-C", str(tree), "-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    for words in (["init", "-q"], ["config", "gc.auto", "0"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *words], check=True)
    project.mkdir()
    names = [f"part{number}" for number in range(8)]
    for number, name in enumerate(names):
        (project / f"{name}.c").write_text(SOURCE % number)
    objects = " ".join(f"{name}.o" for name in names)
    (project / "Makefile").write_text(f"CFLAGS = -O2\nlib.a: {objects}\n\tar rc $@ $^\n")
    (place / "data").write_bytes(os.urandom(64 << 20))
    (place / "steps").write_text(SCRIPT.replace("@PLACE@", str(place)))


def renew(place: Path) -> None:
    """As before the first run; what the guest sees is in the host's cache."""
    for path in (*(place / "project").glob("*.[oa]"), place / "written"):
        path.unlink(missing_ok=True)
    (place / "data").read_bytes()
    # Each finds an index that the host has just written: what one writes into it is not the next one's gain.
    subprocess.run(["git", "-C", str(place / "tree"), "update-index", "-q", "--really-refresh"], check=True)


def run(command: list[str], environment: Mapping[str, str] | None = None) -> dict[str, float]:
    """Seconds by step."""
    output = said(command, environment, TIMEOUT)
    found = {name: float(b) - float(a) for name, a, b in re.findall(r"^step (\w+) (\S+) (\S+)\r?$", output, re.M)}
    if "bench done" not in output:
        print(f"{command[0]} has not finished:\n{output[-1500:]}", file=sys.stderr)
    return found


def initrd(place: Path, name: str, mount: str, modules: Mapping[str, bytes], order: str) -> Path:
    """One that mounts the host's file system and works in it."""
    from xenia.testing.guests import Debian

    files = {"bin/": b"", "dev/": b"", "proc/": b"", "h/": b"", "modules/": b"", "bin/busybox": Debian().busybox}
    files["init"] = INIT.replace("@MOUNT@", mount).replace("@WORK@", WORK).replace("@PLACE@", str(place)).encode()
    files |= {f"modules/{name}.ko": data for name, data in modules.items()}
    target = place / f"initrd-{name}"
    target.write_bytes(peers.archive({**files, "modules/order": order.encode()}))
    return target


def xenia(place: Path, cache: str, engine: str = "emulated") -> dict[str, float]:
    """Xenia's share, mounted as its agent mounts one, but for the cache."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "xenia", "run", "--quiet", "--memory", f"{MEMORY}M", "--vcpus", "2"]
    command += ["--engine", engine]
    if cache == "mmap":
        share, mount = "/:/h", ""
    else:
        share = "tag=root,path=/,security_model=none"
        mount = f"mkdir /h; mount -t 9p -o trans=xen,{OPTIONS},cache={cache} root /h\n"
    work = mount + WORK.replace("@PLACE@", str(place))
    return run([*command, "--share", share, "--", "sh", "-c", work], environment)


def qemu(place: Path, cache: str) -> dict[str, float]:
    """QEMU's emulator, two vcpus of it, with virtio-9p."""
    from xenia.testing.guests import Debian

    kernel = Debian().kernel()
    modules = peers.linux_modules(kernel.release, {"9p", "9pnet_virtio", "virtio_pci"})
    mount = f"-t 9p -o trans=virtio,{OPTIONS},cache={cache} root"
    ramdisk = initrd(place, f"qemu-{cache}", mount, modules, " ".join(_order(modules)))
    return run([
        *(peers.qemu(), "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(MEMORY), "-nodefaults"),
        *("-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", str(kernel.image)),
        *("-initrd", str(ramdisk), "-append", "console=ttyS0 quiet"),
        *("-virtfs", "local,path=/,mount_tag=root,security_model=none,multidevs=remap"),
    ])  # fmt: skip


def user_mode_linux(place: Path) -> dict[str, float]:
    """User-Mode Linux: a kernel of its own, one processor, and programs that run natively."""
    ramdisk = initrd(place, "uml", "-t hostfs -o / none", {}, "")
    return run([
        *(peers.user_mode_linux(), f"mem={MEMORY}M", f"initrd={ramdisk}", "con=null", "con0=fd:0,fd:1", "quiet"),
    ])  # fmt: skip


def _order(modules: Mapping[str, bytes]) -> list[str]:
    from xenia.toolstack.provision.modules import load_order, read_modinfo

    return load_order(sorted(modules), {name: read_modinfo(data, name) for name, data in modules.items()})


def host(place: Path) -> dict[str, float]:
    """The same script, here."""
    return run(["sh", str(place / "steps")])


CONTENDERS: dict[str, tuple[str, Callable[[Path], dict[str, float]]]] = {
    "xenia": ("Xenia, mmap", lambda place: xenia(place, "mmap")),
    "xenia-loose": ("Xenia, loose", lambda place: xenia(place, "loose")),
    "native": ("native, mmap", lambda place: xenia(place, "mmap", "native")),
    "native-loose": ("native, loose", lambda place: xenia(place, "loose", "native")),
    "qemu": ("QEMU, mmap", lambda place: qemu(place, "mmap")),
    "qemu-loose": ("QEMU, loose", lambda place: qemu(place, "loose")),
    "uml": ("UML hostfs", user_mode_linux), "host": ("host", host),
}  # fmt: skip


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(CONTENDERS), help="some of them, by commas")
    parser.add_argument("--files", type=int, default=10_000, help="how many (default: 10,000)")
    parser.add_argument("--runs", type=int, default=1, help="of each (default: 1)")
    options = parser.parse_args()
    wanted = options.only.split(",")
    place = Path(tempfile.mkdtemp(prefix="xenia-daily-", dir="/var/tmp"))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS if name in wanted}
    try:
        if found:
            prepare(place, options.files)
        for _ in range(options.runs):
            for name, results in found.items():
                renew(place)
                try:
                    results.append(CONTENDERS[name][1](place))
                except peers.Missing as missing:
                    print(missing, file=sys.stderr)
        if found:
            print(f"{'':<32}", *(f"{CONTENDERS[name][0]:>16}" for name in found))
        for step, what in STEPS.items():
            cells = [[one[step] for one in results if step in one] for results in found.values()]
            if found:
                print(f"{what:<32}", *(f"{median(cell):16.2f}" if cell else f"{'-':>16}" for cell in cells))
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
