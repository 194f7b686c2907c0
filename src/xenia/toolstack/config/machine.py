"""What to boot, as the operator asked for it: checked values, no side effects."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xenia.errors import ConfigError
from xenia.storage.size import MIB, UNITS, parse_size
from xenia.toolstack.config.choices import DEMO, Clock, Engine, OnReboot
from xenia.toolstack.config.vcpus import check_vcpus

if TYPE_CHECKING:
    from xenia.toolstack.config.device import DeviceConfig
    from xenia.toolstack.config.disk import DiskConfig
    from xenia.toolstack.config.net import NetConfig

__all__ = ["MIB", "MachineConfig", "format_size", "host_memory", "parse_size"]

ALL_MODULES = "all"
NAME = "guest"  # of a guest that is given none

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}")

MINIMUM_MEMORY = 4 * MIB


def format_size(size: int) -> str:
    """The shortest exact form that `parse_size` takes back; bytes that are no whole KiB are rounded up."""
    for unit in "TGM":
        if size >= UNITS[unit] and size % UNITS[unit] == 0:
            return f"{size // UNITS[unit]}{unit}"
    return f"{-(-size // 1024)}K"


def check_name(name: str) -> None:
    """ConfigError where no guest can be called that."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"name {name[:80]!r}: use 1 to 64 letters, digits, or any of _ . + -, and begin with a letter or digit"
        )


def host_memory() -> int:
    """Bytes of physical memory that this host has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineConfig:
    """One guest, and the machine it gets.

    `kernel` None means the package of `flavour`; that one None, the usual flavour or, failing that, the demo guest.
    `modules` None means: beside the kernel, in its build tree or where it is installed; ALL_MODULES, those of the whole
    package of a kernel of the distribution's. `machine_memory` None means
    what the guest needs; `max_memory`, what it can be given while it runs, as much as `memory`; `max_vcpus`, as many as
    `vcpus`. Sizes are bytes. `cards` are its network cards; None is one on a network of its own, where the host can
    give that. `devices`, of any kind, are what it gets besides. `on_reboot` None means a restart where somebody looks
    at the console, and the end elsewhere. `environment` and `directory` are the command's or shell's: what it finds
    besides what all have. `timeout`: seconds that the guest may take. `xenstore` is Machine's `xenstore_socket`, and
    `engine` its `engine`; `jail`, whether the process is to be walled in. `gdb`: where debuggers come in, a port or
    unix:PATH (True: a socket of its own); `gdb_wait`, whether the guest begins when one lets it.
    ConfigError for values that can never be had.
    """

    kernel: str | None = None
    initrd: str | None = None
    modules: str | None = None
    append: str = ""
    memory: int = 256 * MIB
    machine_memory: int | None = None
    vcpus: int = 1
    max_vcpus: int | None = None
    max_memory: int | None = None
    name: str = NAME
    clock: Clock = "real"
    scatter: int | None = None
    engine: Engine = "auto"
    flavour: str | None = None
    command: tuple[str, ...] = field(default=())
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: str = "/"
    disks: tuple[DiskConfig, ...] = ()
    cards: tuple[NetConfig, ...] | None = ()
    devices: tuple[DeviceConfig, ...] = ()
    on_reboot: OnReboot | None = None
    xenstore: str | bool | None = None
    timeout: float | None = None
    jail: bool = True
    gdb: str | bool | None = None
    gdb_wait: bool = False

    def __post_init__(self) -> None:
        if self.memory < MINIMUM_MEMORY:
            hint = f" (a bare number is bytes; {self.memory} MiB are {self.memory}M)" if self.memory < 1 << 20 else ""
            least = format_size(MINIMUM_MEMORY)
            raise ConfigError(f"memory {format_size(self.memory)}: a guest needs {least} at the very least{hint}")
        if self.max_memory is not None and self.max_memory < self.memory:
            raise ConfigError(
                f"a maximum of {format_size(self.max_memory)} (--maxmem) is less than the guest's "
                f"{format_size(self.memory)} of memory (--memory)"
            )
        if self.machine_memory is not None and self.memory > self.machine_memory:
            raise ConfigError(
                f"memory {format_size(self.memory)} does not fit into "
                f"the machine's {format_size(self.machine_memory)} (--machine-memory)"
            )
        largest = max(self.most_memory, self.machine_memory or 0)
        if largest > host_memory():
            raise ConfigError(f"memory {format_size(largest)} is more than this host has ({host_memory() // MIB}M)")
        check_vcpus(self.vcpus, self.max_vcpus)
        check_name(self.name)
        for option, file in (("--kernel", self.kernel), ("--initrd", self.initrd)):
            if file == "":
                raise ConfigError(f"{option} '' names no file")
        if "\0" in self.append or "\n" in self.append:
            raise ConfigError("the kernel's command line is one line without NUL bytes")
        if self.kernel is not None and self.flavour == DEMO and self.kernel != DEMO:
            raise ConfigError(f"--flavour {DEMO} brings its own kernel; give it or --kernel, not both")
        if self.modules == ALL_MODULES and (self.is_demo or self.initrd is not None):
            raise ConfigError(f"--modules {ALL_MODULES} is for the distribution's kernels, and without --initrd")
        is_own = self.modules not in (None, ALL_MODULES)
        if is_own and (self.kernel is None or self.is_demo or self.initrd is not None):
            hint = f"; write '{ALL_MODULES}' for all there are" if str(self.modules).lower() == ALL_MODULES else ""
            raise ConfigError(f"--modules goes with a kernel of your own (--kernel), and without --initrd{hint}")
        if self.is_demo and (self.initrd is not None or self.command):
            what = "an initrd" if self.initrd is not None else "a command"
            raise ConfigError(f"the built-in demo guest takes no {what.split()[-1]}; {what} needs a Linux kernel")
        if self.command and self.on_reboot == "restart":
            raise ConfigError("a command runs once: its guest is not restarted when it reboots")
        if (self.environment or self.directory != "/") and (self.is_demo or self.initrd is not None):
            raise ConfigError("--env and --cwd are for what Xenia's own initramfs starts, not for --initrd or 'demo'")
        if not self.directory.startswith("/"):
            raise ConfigError(f"--cwd '{self.directory}': write a path from the guest's root on, such as /tmp")
        for name in self.environment:
            if not name or "=" in name:
                raise ConfigError(f"--env '{name}' names no variable: write NAME=VALUE, or NAME for your own value")
        if self.command and self.initrd is not None:
            raise ConfigError(
                f"the command '{shlex.join(self.command)}' runs in Xenia's own initramfs; leave --initrd out, or "
                "name a program of your initrd with --append 'rdinit=...'"
            )

    @property
    def most_memory(self) -> int:
        """Bytes that the guest may ever have."""
        return self.max_memory or self.memory

    @property
    def is_demo(self) -> bool:
        """Whether the guest is the one that is built into Xenia."""
        return self.flavour == DEMO or self.kernel == DEMO
