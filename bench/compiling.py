"""A small system with a C compiler, as one initramfs: what several processors of a guest can share the work of.

The project is Xenia's own tiny guests (guests/behaviours with guests/kit), by `make`.  Everything is in memory: there
is no disk, and no driver that one contender has and another has not.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from bench import peers
from bench.workload import DONE, Workload, static_program
from guests import build as guests
from xenia.errors import ConfigError

PACKAGES = ("gcc", "make", "libc6-dev")
# Nothing of these is asked for when C is compiled.
LEFT_OUT = ("usr/share/", "usr/lib/x86_64-linux-gnu/perl", "usr/lib/x86_64-linux-gnu/gconv", "etc/", "var/")
LARGE = ("lto1", "liblto_plugin.a", "lto-wrapper", "lto-dump", "gold", "dwp", "gprof", "libc.a")
SANITIZERS = ("libasan", "libtsan", "libubsan", "liblsan")
FILES = 10  # of the project
# The times are the guest's own, in hundredths of a second.
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
export PATH=/usr/bin:/bin
now() { read up idle < /proc/uptime; echo ${up%.*}${up#*.}; }
measure() { name=$1; shift; t=$(now); "$@" > /tmp/out 2>&1 || cat /tmp/out; echo "bench $name $(($(now) - t))"; }
twice() { "$@" & "$@" & wait; }
hash() { dd if=/dev/zero bs=64k count=$1 2> /dev/null | sha256sum; }
build() { make -C /project -s clean; make -C /project -s $1; }
mkdir -p /tmp; cd /
"""
MAKEFILE = """
OBJECTS = $(patsubst %.c,%.o,$(wildcard *.c))
all: $(OBJECTS)
%.o: %.c; gcc $(FLAGS) -Ikit -c -o $@ $<
clean:; rm -f *.o
"""


def script(steps: str) -> str:
    """/init that takes these steps."""
    return f"{INIT}{steps}\necho {DONE}\npoweroff -f\n"


def _kept(name: str) -> bool:
    return not name.startswith(LEFT_OUT) and not any(part in name.rsplit("/", 1)[-1] for part in LARGE + SANITIZERS)


def _compiler() -> Path:
    """Debian's compiler with all that it needs, as an archive, from Xenia's cache.  Missing where it cannot be had."""
    from xenia.toolstack.provision.cache import Cache
    from xenia.toolstack.provision.cpio import CpioArchive
    from xenia.toolstack.provision.deb import read_deb
    from xenia.toolstack.provision.packages import PackageClient

    cache = Cache()
    choice = hashlib.sha256(repr((PACKAGES, LEFT_OUT, LARGE, SANITIZERS)).encode()).hexdigest()
    target = cache.path("peers", f"compiler-{choice[:16]}")
    if target.exists():
        return target
    archive = CpioArchive()
    seen: set[str] = set()

    def directories(path: str) -> None:
        for parent in reversed(Path(path).parents[:-1]):
            if str(parent) not in seen:
                seen.add(str(parent))
                archive.directory(f"/{parent}")

    for name in ("dev", "proc", "tmp", "bin", "usr/lib", "usr/bin"):
        directories(f"{name}/file")
    archive.symlink("/lib", "usr/lib")
    archive.symlink("/lib64", "usr/lib64")
    try:
        for package in PackageClient(cache).fetch_system(PACKAGES, cache.path("peers", "packages", "none").parent):
            for member, contents in read_deb(package):
                name = member.name.removeprefix("./")
                name = f"usr/{name}" if name.startswith("lib") else name
                if not name or name in seen or not _kept(name) or member.isdir():
                    continue
                directories(name)
                seen.add(name)
                if member.issym():
                    archive.symlink(f"/{name}", member.linkname)
                elif contents is not None:
                    archive.file(f"/{name}", contents.read(), 0o755 if member.mode & 0o111 else 0o644)
    except ConfigError as error:
        raise peers.Missing(f"a compiler for guests is not here: {error}") from None
    with cache.new_file(target) as new:
        new.write_bytes(archive.finish())
    return target


def compiling(directory: Path, steps: str) -> Workload:
    """Debian's kernel and an initramfs that takes these steps: lines of the shell, with `measure` and the others of
    INIT."""
    from xenia.testing.guests import Debian

    debian = Debian()
    files = {"init": script(steps).encode(), "bin/busybox": debian.busybox}
    files |= {f"bin/{name}": static_program(name) for name in ("busy", "calls")}
    files |= {"project/": b"", "project/kit/": b""}
    sources = sorted((guests.HERE / "behaviours").glob("*.c"))[:FILES]
    kit = [path for path in sorted((guests.HERE / "kit").iterdir()) if path.suffix == ".h"]
    files |= {f"project/{path.name}": path.read_bytes() for path in sources}
    files |= {f"project/kit/{path.name}": path.read_bytes() for path in kit}
    flags = " ".join(flag for flag in guests.FLAGS if not flag.startswith(("-Wl", "-nostdlib", "-static", "-no-pie")))
    files["project/Makefile"] = f"FLAGS = {flags}\n{MAKEFILE}".encode()
    initrd = directory / "initrd"
    initrd.write_bytes(_compiler().read_bytes() + peers.archive(files))
    return Workload(debian.kernel().image, initrd)
