"""Everyone with a network card to measure: a guest, or the host itself, that runs bench/net.c and measures when asked.

They all run at once and wait, so that one question can be put to each in turn.  Whom they measure with is the same
program, on the host or in a second guest.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import peers
from bench.contenders import MEMORY, Failed
from bench.drives import READY, Drive

ROOT = Path(__file__).resolve().parents[1]
INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod /modules/$module.ko; done
i=0
while [ ! -e /sys/class/net/{device} ] && [ $i -lt 100 ]; do /bin/busybox sleep 0.1; i=$((i+1)); done
/bin/busybox ifconfig lo 127.0.0.1 up
{configure}
/bin/busybox echo address $(/bin/busybox ifconfig {device} | /bin/busybox sed -n "s/.*inet addr:\\([0-9.]*\\).*/\\1/p")
/bin/net {arguments}
exec /bin/busybox poweroff -f
"""
ASK = (
    "/bin/busybox ifconfig {device} up; /bin/busybox udhcpc -q -n -t 20 -T 1 -i {device} -s /bin/lease >/dev/null 2>&1"
)
TELL = "/bin/busybox ifconfig {device} {address} netmask 255.255.255.0 up"
LEASE = """#!/bin/busybox sh
[ "$1" = bound ] || exit 0
/bin/busybox ifconfig $interface $ip netmask $subnet up
/bin/busybox route add default gw $router
"""
VIRTIO = ("virtio_pci", "virtio_net")
XEN = ("xen_netfront",)
PORT = 5000  # of a guest's that serves
SERVE = f"serve {PORT}"
GATEWAY = "10.0.2.2"  # the host, in everyone's network of its own


@dataclass(frozen=True)
class Files:
    """What all have in common: a directory to work in, a kernel, busybox, the program, and the host's port for it."""

    directory: Path
    kernel: Path
    busybox: bytes
    program: Path
    modules: Mapping[str, bytes]  # by name
    port: int

    def initrd(self, name: str, device: str, modules: Iterable[str], arguments: str, address: str = "") -> Path:
        """An initramfs that loads the modules and what they need, gets an address or has that one, and measures."""
        from xenia.toolstack.provision.modules import load_order, read_modinfo

        infos = {module: read_modinfo(data, module) for module, data in self.modules.items()}
        order = load_order(modules, infos)
        configure = (TELL if address else ASK).format(device=device, address=address)
        files = {"bin/": b"", "dev/": b"", "proc/": b"", "sys/": b"", "modules/": b""}
        files["init"] = INIT.format(
            modules=" ".join(order), device=device, configure=configure, arguments=arguments
        ).encode()
        files |= {"bin/busybox": self.busybox, "bin/net": self.program.read_bytes(), "bin/lease": LEASE.encode()}
        files |= {f"modules/{module}.ko": self.modules[module] for module in order}
        path = self.directory / f"{name}.cpio"
        path.write_bytes(peers.archive(files))
        return path


class Card(Drive):
    """One of them, running; a second guest or a helper may belong to it."""

    address = ""

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The whole of it."""
        return self._process

    def wait_serving(self) -> None:
        """Wait until it answers, and learn where."""
        self.address = self._wait("address", READY).split()[1]
        self._wait("serving", READY)

    def processor_time(self) -> float:
        """Seconds that it has used so far: all its processes, and those of its helpers, wherever they went."""
        ticks: dict[int, int] = {}
        parents: dict[int, int] = {}
        for directory in Path("/proc").iterdir():
            if directory.name.isdigit():
                try:
                    fields = (directory / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue  # it ended meanwhile
                parents[int(directory.name)] = int(fields[1])
                ticks[int(directory.name)] = int(fields[11]) + int(fields[12])
        ours = {self.pid, *(helper.pid for helper in self._helpers)}
        while more := {pid for pid, parent in parents.items() if parent in ours and pid not in ours}:
            ours |= more
        return sum(ticks.get(pid, 0) for pid in ours) / os.sysconf("SC_CLK_TCK")


Start = Callable[[Files], Card]


def measure(server: str, port: int) -> str:
    return f"measure {server} {port}"


def xenia_command(files: Files, initrd: Path, *net: str) -> list[str]:
    return [
        *(sys.executable, "-m", "xenia", "run", "--quiet", "--name", initrd.stem, "--memory", f"{MEMORY}M", *net),
        *("--kernel", str(files.kernel), "--initrd", str(initrd), "--append", "quiet"),
    ]


def qemu_command(files: Files, initrd: Path, netdev: str, mac: str = "52:54:00:12:34:56") -> list[str]:
    return [
        *(peers.qemu(), "-accel", "tcg", "-cpu", "max", "-machine", "pc", "-m", str(MEMORY)),
        *("-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"),
        *("-kernel", str(files.kernel), "-initrd", str(initrd), "-append", "console=ttyS0 quiet"),
        *("-netdev", f"{netdev},id=net", "-device", f"virtio-net-pci,netdev=net,mac={mac}"),
    ]


def uml_command(initrd: Path, device: str) -> list[str]:
    memory = f"mem={MEMORY}M"
    return [peers.user_mode_linux(), memory, f"initrd={initrd}", "con=null", "con0=fd:0,fd:1", "quiet", device]


def host(files: Files) -> Card:
    """The same program on the host, over its loopback."""
    return Card([str(files.program), "measure", "127.0.0.1", str(files.port)])


def xenia_user(files: Files) -> Card:
    """A network of the guest's own, which reaches that one port of the host."""
    initrd = files.initrd("xenia", "eth0", XEN, measure(GATEWAY, files.port))
    return Card(xenia_command(files, initrd, "--net", f"user,host={files.port}"))


def qemu_user(files: Files) -> Card:
    """The same library in QEMU."""
    initrd = files.initrd("qemu", "eth0", VIRTIO, measure(GATEWAY, files.port))
    return Card(qemu_command(files, initrd, "user"))


def uml_user(files: Files) -> Card:
    """User-Mode Linux with slirp, which it starts itself and speaks SLIP with; the host's loopback is its gateway."""
    initrd = files.initrd("uml-user", "eth0", (), measure(GATEWAY, files.port), "10.0.2.15")
    return Card(uml_command(initrd, f"eth0=slirp,,{peers.slirp()}"))


def wait_for(path: Path) -> None:
    """Until somebody has made it."""
    end = time.monotonic() + 10
    while not path.exists():
        if time.monotonic() > end:
            raise Failed(f"nobody made {path}")
        time.sleep(0.01)


def passt(files: Files, name: str) -> tuple[Path, subprocess.Popen[bytes]]:
    """passt, which waits for one guest on a socket, and by which the host's loopback is under the gateway's address."""
    path = files.directory / f"{name}.passt"
    process = subprocess.Popen(
        [
            *(peers.find("passt", "passt"), "--foreground", "--quiet", "--runas", "0", "--socket", str(path)),
            *("--address", "10.0.2.15", "--netmask", "24", "--gateway", GATEWAY),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(path)
    return path, process


def xenia_passt(files: Files) -> Card:
    """The same passt as QEMU's guest has: Xenia's own may not reach the host's loopback."""
    path, process = passt(files, "xenia")
    initrd = files.initrd("xenia-passt", "eth0", XEN, measure(GATEWAY, files.port))
    return Card(xenia_command(files, initrd, "--net", f"socket={path}"), [process])


def qemu_passt(files: Files) -> Card:
    path, process = passt(files, "qemu")
    initrd = files.initrd("qemu-passt", "eth0", VIRTIO, measure(GATEWAY, files.port))
    return Card(qemu_command(files, initrd, f"stream,addr.type=unix,addr.path={path},server=off"), [process])


def tap(name: str, address: str) -> str:
    """An interface of the host's, with that address.  Missing without the privilege."""
    made = subprocess.run(
        f"ip link del {name} 2>/dev/null; ip tuntap add {name} mode tap vnet_hdr && "
        f"ip addr add {address}/24 dev {name} && ip link set {name} up",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise peers.Missing(f"no TAP can be made here ({made.stderr.strip()})")
    return name


def remove_taps() -> None:
    """Those that were made here."""
    for number in range(3):
        subprocess.run(f"ip link del xbench{number} 2>/dev/null", shell=True, check=False)


def xenia_tap(files: Files) -> Card:
    name = tap("xbench0", "10.77.1.1")
    initrd = files.initrd("xenia-tap", "eth0", XEN, measure("10.77.1.1", files.port), "10.77.1.2")
    return Card(xenia_command(files, initrd, "--net", f"tap={name}"))


def qemu_tap(files: Files) -> Card:
    name = tap("xbench1", "10.77.2.1")
    initrd = files.initrd("qemu-tap", "eth0", VIRTIO, measure("10.77.2.1", files.port), "10.77.2.2")
    return Card(qemu_command(files, initrd, f"tap,ifname={name},script=no,downscript=no"))


def uml_tap(files: Files) -> Card:
    """User-Mode Linux's own vector device, in Debian's build of its kernel."""
    name = tap("xbench2", "10.77.3.1")
    initrd = files.initrd("uml", "vec0", (), measure("10.77.3.1", files.port), "10.77.3.2")
    return Card(uml_command(initrd, f"vec0:transport=tap,ifname={name},depth=128,gro=1"))


def serving(command: list[str], helpers: Iterable[subprocess.Popen[bytes]] = ()) -> Card:
    """A second guest, which answers.  When it does not, its helpers are ended too."""
    server = Card(command, helpers)
    try:
        server.wait_serving()
    except BaseException:
        server.close()
        raise
    return server


def xenia_bridge(files: Files) -> Card:
    """Two guests on a network of a process of its own, which `xenia net create` made."""
    name = f"bench{os.getpid()}"
    process = subprocess.Popen([sys.executable, "-m", "bench.network", name], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    net = ("--net", f"bridge={name}")
    server = serving(xenia_command(files, files.initrd("xenia-server", "eth0", XEN, SERVE), *net), [process])
    initrd = files.initrd("xenia-bridge", "eth0", XEN, measure(server.address, PORT))
    return Card(xenia_command(files, initrd, *net), [server.process, process])


def xenia_stream(files: Files) -> Card:
    """Two guests on the two ends of one socket, without headers of offloads."""
    path = files.directory / "xenia.stream"
    initrd = files.initrd("xenia-stream-server", "eth0", XEN, SERVE, "10.0.3.1")
    server = serving(xenia_command(files, initrd, "--net", f"socket=listen:{path}"))
    initrd = files.initrd("xenia-stream", "eth0", XEN, measure("10.0.3.1", PORT), "10.0.3.2")
    return Card(xenia_command(files, initrd, "--net", f"socket={path}"), [server.process])


def qemu_stream(files: Files) -> Card:
    """The same between two of QEMU's."""
    at = f"addr.type=unix,addr.path={files.directory / 'qemu.stream'}"
    initrd = files.initrd("qemu-stream-server", "eth0", VIRTIO, SERVE, "10.0.3.1")
    server = serving(qemu_command(files, initrd, f"stream,{at},server=on", "52:54:00:12:34:57"))
    initrd = files.initrd("qemu-stream", "eth0", VIRTIO, measure("10.0.3.1", PORT), "10.0.3.2")
    return Card(qemu_command(files, initrd, f"stream,{at},server=off"), [server.process])


# By link: Xenia's first, which is compared with the others.
LINKS: dict[str, tuple[str, dict[str, tuple[str, Start]]]] = {
    "user": (
        "guest to host, user-mode network",
        {
            "xenia-user": ("Xenia", xenia_user),
            "qemu-user": ("QEMU virtio-net", qemu_user),
            "uml-user": ("UML slirp", uml_user),
            "host": ("loopback", host),
        },
    ),
    "tap": (
        "guest to host, TAP",
        {
            "xenia-tap": ("Xenia", xenia_tap),
            "qemu-tap": ("QEMU virtio-net", qemu_tap),
            "uml-tap": ("UML vector", uml_tap),
        },
    ),
    "passt": (
        "guest to host, passt",
        {"xenia-passt": ("Xenia", xenia_passt), "qemu-passt": ("QEMU virtio-net", qemu_passt)},
    ),
    "stream": (
        "guest to guest, one socket",
        {"xenia-stream": ("Xenia", xenia_stream), "qemu-stream": ("QEMU virtio-net", qemu_stream)},
    ),
    "bridge": (
        "guest to guest, Xenia's bridge; beside QEMU's on one socket",
        {"xenia-bridge": ("Xenia", xenia_bridge), "qemu-bridge": ("QEMU virtio-net", qemu_stream)},
    ),
}
