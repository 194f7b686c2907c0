"""What an image is to be, as the operator asked for it, and what that makes of its files."""

from __future__ import annotations

import re
from dataclasses import dataclass

from xenia.errors import ConfigError
from xenia.toolstack.config.machine import format_size
from xenia.toolstack.image import network
from xenia.toolstack.provision.kernels import Kernel

# What apt is asked for: all that is essential, apt itself, an init, and what one misses at once on a machine without.
PACKAGES = (
    "?essential", "?exact-name(usr-is-merged)", "apt", "init", "systemd", "systemd-sysv", "udev", "dbus", "login",
    "passwd", "mount", "kmod", "e2fsprogs", "procps", "iproute2", "less", "nano",
)  # fmt: skip
DEFAULT_SIZE = 2 << 30
LEAST_SIZE = (
    256 << 20
)  # no system of these packages fits into less; how much more it needs turns out when they are there
MOST_SIZE = 4096 << 32  # that a file system with blocks of 4096 bytes has, which are counted in 32 bits
LABEL = "root"

_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_MIRROR = re.compile(r"https?://[!-~]+")
_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")

_FSTAB = f"""\
# <device> <mount point> <type> <options> <dump> <pass>
LABEL={LABEL} / ext4 errors=remount-ro 0 1
"""
_HOSTS = """\
127.0.0.1 localhost
127.0.1.1 {hostname}
::1 localhost ip6-localhost ip6-loopback
"""
_SOURCES = """\
# Where apt finds packages; the host that this was built on did not say. A mirror, or a repository on a disk at /mnt:
#   deb URL SUITE main
#   deb [trusted=yes] file:/mnt ./
"""
# The host tells the kernel what the terminal behind its console is.
_PROFILE = """\
if [ "$(tty)" = /dev/hvc0 ]; then
    for word in $(cat /proc/cmdline); do
        case $word in
            systemd.tty.rows.hvc0=*) stty rows "${word#*=}" ;;
            systemd.tty.columns.hvc0=*) stty columns "${word#*=}" ;;
            systemd.tty.term.hvc0=*) TERM=${word#*=} ;;
        esac
    done
    # Xenia's agent keeps the size that it has by now.
    if [ -r /run/xenia-window ]; then
        read -r rows columns < /run/xenia-window
        stty rows "$rows" columns "$columns"
    fi
    unset word rows columns
fi
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """One image.  `size` is in bytes, and of the whole disk; `root_password` "" means that none is asked for.

    ssh_keys    the public keys that may log in as root; without any there is no sshd
    mirror      where its apt finds packages; None: where the host's does

    ConfigError for values that can never be had.
    """

    output: str
    size: int = DEFAULT_SIZE
    include: tuple[str, ...] = ()
    hostname: str = "debian"
    root_password: str = ""
    replace: bool = False
    ssh_keys: tuple[str, ...] = ()
    mirror: str | None = None

    def __post_init__(self) -> None:
        for name in self.include:
            if not _NAME.fullmatch(name):
                raise ConfigError(f"'{name}' is no package's name")
        if not _HOSTNAME.fullmatch(self.hostname):
            raise ConfigError(f"hostname '{self.hostname}': use 1 to 63 letters, digits and dashes, none at its ends")
        if self.size % 4096 or self.size <= 0:
            raise ConfigError(f"{self.size} bytes is no size for a disk: it is made of blocks of 4096")
        if self.size < LEAST_SIZE:
            least = format_size(LEAST_SIZE)
            raise ConfigError(f"a disk of {format_size(self.size)} is too small: no system fits into less than {least}")
        refuse_more(self.size)
        if self.mirror is not None and not _MIRROR.fullmatch(self.mirror):
            raise ConfigError(f"'{self.mirror}' is no mirror: write its address, beginning with http:// or https://")
        if not self.root_password.isprintable():
            raise ConfigError("a password is one line of characters that can be typed")

    @property
    def wanted(self) -> tuple[str, ...]:
        """What the package client is asked for."""
        return *PACKAGES, *network.PACKAGES, *(network.SSH_PACKAGES if self.ssh_keys else ()), *self.include

    def files(self) -> dict[str, bytes]:
        """The files, by path, that make a system of packages this one."""
        texts = {
            "etc/fstab": _FSTAB,
            "etc/hostname": f"{self.hostname}\n",
            "etc/hosts": _HOSTS.format(hostname=self.hostname),
            "etc/default/locale": "LANG=C.UTF-8\n",
            "etc/apt/sources.list": _SOURCES,
            "etc/profile.d/hvc0.sh": _PROFILE,
        }
        return {path: text.encode() for path, text in texts.items()} | network.network_files(self.ssh_keys)


def module_files(kernel: Kernel) -> dict[str, bytes]:
    """The kernel's modules that are at hand, by their path in a system."""
    directory = f"usr/lib/modules/{kernel.release}/kernel"
    return {f"{directory}/{path.name}": path.read_bytes() for path in sorted(kernel.modules.glob("*.ko"))}


def refuse_more(size: int) -> None:
    """ConfigError where no file system holds so many bytes."""
    if size > MOST_SIZE:
        raise ConfigError(f"a disk of {format_size(size)}: there is {format_size(MOST_SIZE)} at the most")
