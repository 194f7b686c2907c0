"""Creating a domain of the daemon's.

All that has a name on the host is opened here, by who asks, with his rights and in his folder: kernel, RAM disk, disks,
networks.  The daemon gets them open.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from xenia.cpu.registry import AUTO, lack
from xenia.errors import ConfigError
from xenia.toolstack.config.device import MOST_DESCRIPTORS, DeviceConfig
from xenia.toolstack.config.domain import DomainConfig
from xenia.toolstack.config.machine import MachineConfig
from xenia.toolstack.config.net import for_guest
from xenia.toolstack.control.channel import opened
from xenia.toolstack.control.client import Place, ask_daemon, find
from xenia.toolstack.control.control import daemon_path
from xenia.toolstack.provision.all_modules import with_all_modules
from xenia.toolstack.provision.boot import Screen, Words, prepare
from xenia.toolstack.provision.kernels import held
from xenia.toolstack.service import start

_PATIENCE = 120.0  # seconds: its memory is written once


def create(domain: DomainConfig, guest: MachineConfig, words: Words, screen: Screen) -> Place:
    """A domain that does not run yet; where it answers.

    domain   as the daemon is told of it
    guest    what it boots and has
    screen   of who will look at its console

    ConfigError where something cannot be had, or there is a domain of that name.
    """
    for other in _called(domain.name):
        whose = f": a guest of xenia run, process {other.pid}" if other.domid is None else ""
        raise ConfigError(f"a domain with name '{domain.name}' already exists{whose}")
    if guest.engine == AUTO and (reason := lack()) is not None:
        words.say(f"programs are emulated: {reason}")
    guest = with_all_modules(guest, words)
    boot = prepare(guest, words, screen=screen, quiet=bool(guest.command))
    if boot.kernel_file is None:
        raise ConfigError("the kernel is in no file")
    start.ensure()
    words.clear()
    with ExitStack() as stack:
        files = [stack.enter_context(held(boot.kernel_file)).fileno()]
        if boot.ramdisk:
            files.append(opened(boot.ramdisk, stack))
        devices: list[dict[str, Any]] = []
        for config in _devices(guest):
            config, found = stack.enter_context(config.within(Path.cwd()).opened())
            devices.append({
                "kind": config.kind, "config": config.as_dict(), "names": [name for name, _ in found],
            })  # fmt: skip
            files += [descriptor for _, descriptor in found]
        if len(files) >= MOST_DESCRIPTORS:  # the daemon puts its console before them
            raise ConfigError(f"the domain has more than {MOST_DESCRIPTORS - 1} files in all: plug some in later")
        build = {
            "kernel_name": str(boot.kernel_file), "nr_ramdisks": 1 if boot.ramdisk else 0,
            "command_line": boot.command_line, "devices": devices,
        }  # fmt: skip
        made = ask_daemon("create", patience=_PATIENCE, descriptors=files, config=domain.as_dict(), build=build)
    return Place(daemon_path(), made["name"], 0, made["domid"])


def _called(name: str) -> list[Place]:
    """Who has that name already, as far as it can be told."""
    try:
        return [one for one in find(name) if one.name == name]
    except ConfigError:
        return []


def _devices(guest: MachineConfig) -> tuple[DeviceConfig, ...]:
    return (*guest.disks, *guest.devices, *for_guest(guest.cards or (), guest.name))
