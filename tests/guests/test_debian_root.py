"""A Debian root disk from its packages to its second boot: built, booted, changed, rebooted, powered off.

The tests share one image and one guest.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pexpect
import pytest

from xenia.errors import ConfigError
from xenia.jail.jail import walls_of_host
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.deb import read_control
from xenia.toolstack.provision.packages import PackageClient

SOURCE = Path(__file__).parents[2] / "src"
NAME = "debian-root"
OVER_THE_NET = "tree"  # a package
LIMIT = 280  # seconds for the slowest step on the slowest machine

pytestmark = [
    pytest.mark.guest,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not PackageClient.available(), reason="no apt-get on this host to fetch Debian with"),
    pytest.mark.skipif(not all(map(shutil.which, ("mke2fs", "e2fsck"))), reason="the host has no e2fsprogs"),
]


def xenia(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "xenia", *arguments],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@dataclass(frozen=True)
class Built:
    """A root disk with nothing but what every image has, and what the process was like that ran its packages' programs.

    walls   the lines of /proc/PID/status of processes below the builder's, while packages were being configured
    """

    path: Path
    walls: list[dict[str, str]]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """A key that opens the system's sshd; None where the host has no ssh."""
    if not all(map(shutil.which, ("ssh", "ssh-keygen"))):
        return None
    path = tmp_path_factory.mktemp("key") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, key: Path | None) -> Built:
    path = tmp_path_factory.mktemp("image") / "root.qcow2"
    with subprocess.Popen(
        [sys.executable, "-m", "xenia", "image", "build", "debian", "-o", str(path), "--size", "1G", "--json",
         *(["--ssh-key", f"{key}.pub"] if key is not None else [])],
        env={**os.environ, "PYTHONPATH": str(SOURCE)}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as builder:  # fmt: skip
        assert builder.stdout is not None and builder.stderr is not None
        said, walls = "", []
        for line in builder.stderr:
            said += line
            if line == "xenia: configuring\n":
                walls = [_status(child) for child in _children(builder.pid)]
        packages = json.load(builder.stdout)["packages"] if builder.wait() == 0 else {}
    assert builder.returncode == 0, said
    assert {"systemd", "apt", "libc6"} <= packages.keys() and "xenstore-utils" not in packages
    assert [one.name for one in path.parent.iterdir()] == ["root.qcow2"]
    return Built(path, walls)


def _children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in _words(task / "children")]


def _words(path: Path) -> list[str]:
    return path.read_text().split()


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.fixture(scope="module")
def image(built: Built) -> Path:
    return built.path


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with a package repository on it: hello, and xenstore-utils with the libraries it needs.  Beside it is the
    folder that the disk was made of."""
    tree = tmp_path_factory.mktemp("repository")
    client = PackageClient(Cache())
    names = ["hello", "xenstore-utils", OVER_THE_NET]
    stanzas = []
    try:
        for name in names:
            package = client.find([name])
            names += [one for one in package.depends if one.startswith("libxen") and one not in names]
            path = client.download(package, tree)
            data = path.read_bytes()
            stanza = read_control(path)["control"].data.decode().strip()
            digest = hashlib.sha256(data).hexdigest()
            stanzas.append(f"{stanza}\nFilename: ./{path.name}\nSize: {len(data)}\nSHA256: {digest}\n")
    except ConfigError as missing:
        pytest.skip(str(missing))
    (tree / "Packages").write_text("\n".join(stanzas))
    disk = tree.with_name("repository.img")
    disk.touch()
    os.truncate(disk, 16 << 20)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-F", "-d", str(tree), str(disk)], check=True, capture_output=True)
    return disk


@pytest.fixture(scope="module")
def web(repository: Path) -> Iterator[int]:
    """The port of the host's loopback where the repository is to be had over HTTP."""

    class Files(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None: ...

    folder = next(path.parent for path in repository.parent.glob("*/Packages"))
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Files, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


class Console:
    """The console of a guest that boots from a disk, with root logged in."""

    def __init__(self, image: Path, *disks: str, net: str = "user") -> None:
        options = [word for disk in disks for word in ("--disk", disk)] + ["--net", net, "--name", NAME]
        self.guest = pexpect.spawn(
            sys.executable,
            ["-m", "xenia", "run", "--root", str(image), *options, "--append", "quiet"],
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            encoding="utf-8",
            codec_errors="replace",
            timeout=LIMIT,
            dimensions=(40, 120),
        )
        self.log_in()

    def log_in(self) -> None:
        """Wait for the login and be root."""
        self.guest.expect("login: ")
        self.banner = str(self.guest.before)
        self.guest.sendline("root")
        self.guest.expect("root@debian:~# ")
        self.guest.sendline("exec bash --noediting --norc")
        self.guest.expect(r"bash-[0-9.]+# ")

    def run(self, command: str, status: int = 0) -> str:
        """What a command prints; it has to end with this status."""
        self.guest.sendline(f'{command}; echo "<$?>"')
        self.guest.expect(r"<([0-9]+)>\r\n")
        printed = str(self.guest.before).replace("\r", "").partition("\n")[2]
        assert isinstance(self.guest.match, re.Match) and self.guest.match[1] == str(status), printed
        return printed

    def reboot(self) -> None:
        """Begin again, and log in again."""
        self.guest.sendline("reboot")
        self.log_in()

    def power_off(self) -> None:
        """End the guest as its administrator would."""
        self.guest.sendline("poweroff")
        self.guest.expect(pexpect.EOF)
        self.guest.close()
        assert self.guest.exitstatus == 0

    def close(self) -> None:
        """End it whatever it does."""
        self.guest.close(force=True)


@pytest.fixture(scope="module")
def first_boot(image: Path, repository: Path, web: int) -> Iterator[Console]:
    console = Console(image, f"{repository},ro", net=f"user,host={web}")
    yield console
    console.close()


@pytest.fixture(scope="module")
def installed(first_boot: Console) -> Console:
    """The guest when it has packages from the repository disk, and a file with a line of ours."""
    first_boot.run("mount -o ro /dev/xvdb /mnt")
    first_boot.run("echo 'deb [trusted=yes] file:/mnt ./' > /etc/apt/sources.list")
    first_boot.run("apt-get -q update")
    first_boot.run("apt-get -q -y install hello xenstore-utils")
    first_boot.run("umount /mnt; echo written once > /srv/note")
    return first_boot


def test_it_boots_to_a_login_with_systemd(first_boot: Console) -> None:
    assert "Debian GNU/Linux" in first_boot.banner and "debian hvc0" in first_boot.banner
    assert first_boot.run("cat /proc/1/comm") == "systemd\n"
    assert first_boot.run("systemctl is-system-running --wait") == "running\n", first_boot.run("systemctl --failed")
    assert "/dev/xvda on / type ext4 (rw" in first_boot.run("mount")
    assert first_boot.run("stty size") == "40 120\n"  # the terminal's, on the host
    assert first_boot.run("lsmod | grep -c autofs4") == "1\n"


@pytest.mark.skipif(walls_of_host().filters is None, reason="this host has no filters of system calls")
def test_the_programs_of_packages_run_behind_walls(built: Built) -> None:
    assert [(one["NoNewPrivs"], one["Seccomp"], one["CapEff"]) for one in built.walls] == [("1", "2", "0" * 16)]


def test_commands_are_run_in_a_system_that_systemd_is_the_init_of(first_boot: Console) -> None:
    first_boot.run("true")
    assert xenia("exec", NAME, "systemctl", "is-system-running", "--wait").stdout == "running\n"
    assert xenia("exec", NAME, "cat", "/proc/1/comm", "/proc/self/cgroup").stdout == "systemd\n0::/init.scope\n"
    first_boot.run("systemctl daemon-reexec")
    first_boot.run("systemctl isolate multi-user.target")
    assert xenia("exec", NAME, "hostname").stdout == "debian\n"


def test_a_login_shell_follows_the_window_and_so_does_the_next(first_boot: Console) -> None:
    first_boot.guest.setwinsize(41, 123)
    first_boot.run("until [ \"$(stty size)\" = '41 123' ]; do :; done")
    first_boot.guest.sendline("exit")
    first_boot.log_in()
    assert first_boot.run("stty size") == "41 123\n"
    first_boot.guest.setwinsize(40, 120)
    first_boot.run("until [ \"$(stty size)\" = '40 120' ]; do :; done")


def test_what_the_host_put_in_place_is_what_dpkg_would_have(first_boot: Console) -> None:
    assert first_boot.run("dpkg --audit; dpkg --verify; find / -xdev -name '*.dpkg-*'") == ""
    first_boot.run("apt-get -q check")


def test_a_package_is_installed_from_a_repository_on_a_disk(installed: Console) -> None:
    assert installed.run("hello") == "Hello, world!\n"
    assert "ii  hello" in installed.run("dpkg --list hello")


def test_a_package_is_installed_over_the_network_from_a_service_of_the_hosts(installed: Console, web: int) -> None:
    before = installed.run("mv /etc/apt/sources.list /etc/apt/sources.list.before; cat /etc/apt/sources.list.before")
    installed.run(f"echo 'deb [trusted=yes] http://host.xenia.internal:{web} ./' > /etc/apt/sources.list")
    assert f"host.xenia.internal:{web}" in installed.run("apt-get -q update")
    installed.run(f"apt-get -q -y install {OVER_THE_NET}")
    assert installed.run(f"{OVER_THE_NET} --version") != "" and "deb" in before


def test_ssh_leads_into_the_guest_with_a_host_key_of_its_own(installed: Console, key: Path | None) -> None:
    if key is None:
        pytest.skip("this host has no ssh (Debian's package openssh-client)")

    def ssh(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "xenia", "ssh", NAME, "-i", str(key), "--", *words],
            env={**os.environ, "PYTHONPATH": str(SOURCE)}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=LIMIT, check=False,
        )  # fmt: skip

    done = ssh("hostname; exit 3")
    assert (done.returncode, done.stdout) == (3, "debian\n"), done.stderr
    assert ssh("cat /sys/class/net/*/operstate").stdout.split().count("up") == 1
    assert installed.run("ls /etc/ssh/ssh_host_*_key") == "/etc/ssh/ssh_host_ed25519_key\n"


def test_debians_xenstore_tools_work_inside_through_the_xenbus_device(installed: Console) -> None:
    assert installed.run("ls -l /dev/xen/xenbus").startswith("c")
    domid = installed.run("xenstore-read domid").strip()
    assert installed.run("xenstore-read name") == f"{NAME}\n"
    installed.run("xenstore-write data/note 'a b' data/other c")
    assert installed.run("xenstore-read data/note") == "a b\n"
    assert {"note", "other"} <= set(installed.run("xenstore-list data").split())
    assert re.search(r'^ ?note = "a b"', installed.run(f"xenstore-ls /local/domain/{domid}/data"), re.MULTILINE)
    installed.run(f"xenstore-chmod data/note n{domid} r0")
    assert f"(n{domid},r0)" in installed.run("xenstore-ls -p data")
    installed.run("xenstore-rm data/other; xenstore-exists data/other", status=1)
    installed.run("xenstore-write /local/domain/0/x y", status=1)  # not its own


def test_a_watch_inside_fires_when_the_node_changes(installed: Console) -> None:
    watch = "stdbuf -oL xenstore-watch -n 2 data/watched > /tmp/told & "
    change = "read -r first; xenstore-write data/watched new; read -r second; echo $first $second"
    told = installed.run(f"sh -c 'mkfifo /tmp/told; {watch} {{ {change}; }} < /tmp/told; wait'")
    assert told == "data/watched data/watched\n"


def test_after_a_reboot_all_is_there_and_after_a_power_off_the_file_system_is_clean(
    installed: Console, image: Path, tmp_path: Path
) -> None:
    boot = installed.run("cat /proc/sys/kernel/random/boot_id")
    installed.reboot()
    assert installed.run("cat /proc/sys/kernel/random/boot_id") != boot
    assert installed.run("cat /srv/note; hello") == "written once\nHello, world!\n"
    assert installed.run("systemctl is-system-running --wait") == "running\n", installed.run("systemctl --failed")
    installed.power_off()
    raw = tmp_path / "root.img"
    xenia("disk", "convert", str(image), str(raw))
    checked = subprocess.run(["e2fsck", "-f", "-n", str(raw)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0 and "recovery" not in checked.stdout + checked.stderr, checked.stdout
