"""Guests with stock kernels, for tests, examples and measurements: Debian's, with busybox and the agent.

Kernel and programs are fetched once with the package manager's client and kept (toolstack/provision).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from xenia.agent.config import AgentConfig
from xenia.toolstack.config.machine import MIB
from xenia.toolstack.machine.domain import Domain
from xenia.toolstack.machine.machine import Machine
from xenia.toolstack.provision.boot import COMMAND_LINE, SMALL_COMMAND_LINE, SMALL_MEMORY
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.initramfs import ENVIRONMENT, FRONTENDS, Base, base_initramfs, initramfs
from xenia.toolstack.provision.kernels import Kernel, Kernels, unpacked_image
from xenia.toolstack.provision.packages import PackageClient


class Debian:
    """What Debian has to boot.  ConfigError, from each, where it cannot be had."""

    def __init__(self) -> None:
        self._cache = Cache()
        self._kernels = Kernels(self._cache, PackageClient(self._cache))

    def kernel(self, flavour: str = "amd64") -> Kernel:
        """The kernel of a flavour, as it is packed."""
        return self._kernels.get(flavour)

    def image(self, flavour: str = "amd64") -> bytes:
        """The same, unpacked: what `Machine.create_domain` takes."""
        return bytes(unpacked_image(self.kernel(flavour).image, self._cache))

    @cached_property
    def busybox(self) -> bytes:
        """The program that is all the others."""
        return self._kernels.busybox().read_bytes()

    def base(self, flavour: str, modules: Sequence[str] = FRONTENDS, on_demand: Sequence[str] = ()) -> Base:
        """The part of an initial RAM disk that does not change: see `base_initramfs`."""
        return base_initramfs(self._cache, self._kernels.busybox(), self.kernel(flavour), modules, on_demand)


def linux(
    machine: Machine,
    script: str,
    *,
    flavour: str = "amd64",
    modules: Sequence[str] = FRONTENDS,
    on_demand: Sequence[str] = (),
    load_modules: bool = True,
    environment: Mapping[str, str] = ENVIRONMENT,
    files: Mapping[str, bytes] | None = None,
    append: str = "quiet",
    memory: int = 256 * MIB,
    **options: Any,
) -> Domain:
    """A domain with one of Debian's kernels, which runs a shell script and powers off.

    modules         of the kernel's, loaded before the script is run, unless `load_modules` says that it does that
    on_demand       more of them, for modprobe to find
    files           further files, by absolute path
    append          more words for the kernel's command line
    options         the other ones of `Machine.create_domain`

    ConfigError where kernel or programs cannot be had, or the memory is not there.
    """
    debian = Debian()
    base = debian.base(flavour, modules, on_demand)
    agent = AgentConfig(
        args=("/bin/sh", "-c", script),
        environment=environment,
        modules=base.modules if load_modules else (),
        hostname=options.get("name") or "",
    )
    words = (*COMMAND_LINE, *(SMALL_COMMAND_LINE if memory < SMALL_MEMORY else ()), append)
    return machine.create_domain(
        debian.image(flavour),
        initrd=initramfs(base, agent, files),
        cmdline=" ".join(words),
        memory=memory,
        **options,
    )
