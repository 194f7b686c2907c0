"""Everyone with a disk to measure: a guest, or the host itself, that runs bench/io.c and measures when it is asked.

They all run at once and wait, each with a copy of the same file, so that one question can be put to each in turn.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bench import peers
from bench.contenders import MEMORY, Failed

READY = 120  # seconds until a guest may say that it is
PATIENCE = 400  # seconds on top of what was asked for
INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do
    /bin/busybox insmod /modules/$module.ko $(/bin/busybox cat /modules/$module.parameters 2>/dev/null)
done
i=0
while [ ! -e /dev/{device} ] && [ $i -lt 100 ]; do /bin/busybox sleep 0.1; i=$((i+1)); done
/bin/io /dev/{device}
exec /bin/busybox poweroff -f
"""
VIRTIO = ("virtio_pci", "virtio_blk")
IDE = ("ata_piix", "sd_mod")
XEN = ("xen_blkfront",)
# QEMU's own defaults are cache=writeback and threads for what may wait; they are written out because they matter.
QEMU_DRIVE = "format=raw,cache=writeback,aio=threads"


@dataclass(frozen=True)
class Files:
    """What all have in common: a directory to work in, a kernel, busybox, the program, and the file to copy."""

    directory: Path
    kernel: Path
    busybox: bytes
    program: bytes
    modules: Mapping[str, bytes]  # by name
    master: Path

    def copy(self, name: str) -> Path:
        """A copy of the file, all of it in the host's page cache."""
        path = self.directory / f"{name}.img"
        shutil.copyfile(self.master, path)
        return path

    def initrd(self, name: str, device: str, modules: Iterable[str] = (), parameters: str = "") -> Path:
        """An initramfs that loads the modules and what they need, and measures the device.

        parameters    of the module named last
        """
        from xenia.toolstack.provision.modules import load_order, read_modinfo

        infos = {module: read_modinfo(data, module) for module, data in self.modules.items()}
        order = load_order(modules, infos)
        files = {"bin/": b"", "dev/": b"", "proc/": b"", "sys/": b"", "modules/": b""}
        files["init"] = INIT.format(modules=" ".join(order), device=device).encode()
        files |= {"bin/busybox": self.busybox, "bin/io": self.program}
        files |= {f"modules/{module}.ko": self.modules[module] for module in order}
        if parameters:
            files[f"modules/{order[-1]}.parameters"] = parameters.encode()
        path = self.directory / f"{name}.cpio"
        path.write_bytes(peers.archive(files))
        return path


class Measured(NamedTuple):
    """MB or operations per second, and for how many seconds."""

    rate: float
    seconds: float


class Drive:
    """One of them, running.  Failed when it does not say that it is ready, or does not answer."""

    def __init__(self, command: list[str], helpers: Iterable[subprocess.Popen[bytes]] = ()) -> None:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1] / "src")}
        self._helpers = list(helpers)
        self._said = b""
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def wait_ready(self) -> None:
        """Wait until it has started."""
        self._wait("ready", READY)

    def measure(self, test: str, milliseconds: int) -> Measured:
        """Run a test that goes on for at least so long."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{test} {milliseconds}\n".encode())
        self._process.stdin.flush()
        rate, seconds = self._wait(f"{test}:", PATIENCE + milliseconds / 1000).split()[1:]
        return Measured(float(rate), float(seconds))

    def processor_time(self) -> float:
        """Seconds that it has used so far, all its processes together."""
        ticks = 0
        for directory in Path("/proc").iterdir():
            if directory.name.isdigit():
                try:
                    fields = (directory / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue  # it ended meanwhile
                if int(fields[3]) == self.pid:
                    ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def _wait(self, beginning: str, seconds: float) -> str:
        """The line that begins so."""
        assert self._process.stdout is not None
        end = time.monotonic() + seconds
        while True:
            *lines, rest = self._said.split(b"\n")
            for index, line in enumerate(lines):
                text = line.decode("utf-8", "replace").strip()
                if text.startswith(beginning):
                    self._said = b"\n".join([*lines[index + 1 :], rest])
                    return text
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise Failed(f"no answer to {beginning!r}; it said:\n{self._said[-600:].decode('utf-8', 'replace')}")
            data = os.read(self._process.stdout.fileno(), 65536)
            if not data:
                raise Failed(f"it ended; it said:\n{self._said[-600:].decode('utf-8', 'replace')}")
            self._said += data

    def close(self) -> None:
        """End it: asked to first, so that what it says in the end is said."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._process.stdin.write(b"end 0\n")
            self._process.stdin.close()
            self._process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()
        for helper in self._helpers:
            helper.terminate()
            helper.wait()


Start = Callable[[Files], Drive]


def host(files: Files) -> Drive:
    """The same program on the host, through its page cache, which is what it is to a guest's disk."""
    program = files.directory / "io"
    program.write_bytes(files.program)
    program.chmod(0o755)
    return Drive([str(program), str(files.copy("host")), "cached"])


def qemu(name: str, device: str, modules: tuple[str, ...], *drive: str) -> Start:
    """QEMU's emulator with the disk as that device of a pc."""

    def start(files: Files) -> Drive:
        initrd = files.initrd(name, device, modules)
        return Drive([
            *(peers.qemu(), "-accel", "tcg", "-cpu", "max", "-machine", "pc", "-m", str(MEMORY)),
            *("-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"),
            *("-kernel", str(files.kernel), "-initrd", str(initrd), "-append", "console=ttyS0 quiet"),
            *("-drive", f"file={files.copy(name)},{QEMU_DRIVE},if=none,id=disk", *drive),
        ])  # fmt: skip

    return start


def user_mode_linux(files: Files) -> Drive:
    """User-Mode Linux's own block device, in Debian's build of its kernel."""
    initrd = files.initrd("uml", "ubda")
    return Drive([
        *(peers.user_mode_linux(), f"mem={MEMORY}M", f"initrd={initrd}", f"ubd0={files.copy('uml')}"),
        *("con=null", "con0=fd:0,fd:1", "quiet"),
    ])  # fmt: skip


def xenia(name: str, layers: str = "file:{}.img", *, made: bool = False, parameters: str | None = None) -> Start:
    """Xenia, with a stack of layers, where `{}` stands for a path without its suffix.

    made          the stack is made and written to; otherwise its bottom is a copy of the file
    parameters    of the guest's frontend; None: those that Xenia's own RAM disk gives it
    """

    def start(files: Files) -> Drive:
        from xenia.toolstack.provision.initramfs import MODULE_OPTIONS

        base = files.directory / name
        stack = layers.format(base)
        if made:
            make(stack, base.with_suffix(".key"), files.master.read_bytes())
        else:
            files.copy(name)
        helpers = []
        if stack.startswith("nbd:"):
            helpers.append(storage_daemon(base))
        told = MODULE_OPTIONS["xen_blkfront"] if parameters is None else parameters
        initrd = files.initrd(name, "xvda", XEN, told)
        return Drive(
            [
                *(sys.executable, "-m", "xenia", "run", "--quiet", "--memory", f"{MEMORY}M", "--disk", stack),
                *("--kernel", str(files.kernel), "--initrd", str(initrd), "--append", "quiet"),
            ],
            helpers,
        )

    return start


def make(stack: str, key: Path, data: bytes) -> None:
    """Make a disk with that on it."""
    from xenia.storage.stack import create_stack, open_stack

    key.write_text("a passphrase")
    create_stack(stack, len(data))
    with open_stack(stack) as disk:
        for at in range(0, len(data), 1 << 20):
            disk.pwrite(data[at : at + (1 << 20)], at)


def storage_daemon(base: Path) -> subprocess.Popen[bytes]:
    """A server for a file, on a socket beside it."""
    socket = base.with_suffix(".sock")
    server = subprocess.Popen([
        *(peers.find("qemu-storage-daemon", "qemu-system-common"), "--blockdev"),
        f"driver=file,node-name=disk,filename={base}.img",
        *("--nbd-server", f"addr.type=unix,addr.path={socket}"),
        *("--export", "type=nbd,id=disk,node-name=disk,writable=on,name="),
    ])  # fmt: skip
    end = time.monotonic() + 10
    while not socket.exists():
        if time.monotonic() > end:
            server.kill()
            raise Failed(f"nobody made {socket}")
        time.sleep(0.01)
    return server


DRIVES: dict[str, tuple[str, Start]] = {
    "xenia": ("Xenia", xenia("xenia")),
    "small": ("Xenia, small", xenia("small", parameters="")),
    "virtio": ("QEMU virtio-blk", qemu("virtio", "vda", VIRTIO, "-device", "virtio-blk-pci,drive=disk")),
    "ide": ("QEMU IDE", qemu("ide", "sda", IDE, "-device", "ide-hd,drive=disk")),
    "uml": ("UML ubd", user_mode_linux),
    "host": ("the host", host),
}
# What each layer costs is told by one disk that has it and one that has not.
LAYERS: dict[str, tuple[str, Start]] = {
    "qcow2": ("qcow2", xenia("qcow2", "qcow2:{}.qcow2", made=True)),
    "crypt": ("crypt", xenia("crypt", "file:{0}.img,crypt:key=@{0}.key:kdf=pbkdf2", made=True)),
    "compress": ("compress", xenia("compress", "file:{}.img,compress", made=True)),
    "cow": ("cow", xenia("cow", "file:{}.img,cow")),
    "checkpoint": ("checkpoint", xenia("checkpoint", "file:{}.img,checkpoint")),
    "cache": ("cache", xenia("cache", "file:{}.img,cache")),
    "nbd": ("nbd", xenia("nbd", "nbd:{}.sock")),
}
