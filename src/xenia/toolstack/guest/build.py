"""The verbs that make a guest's domain: the first, and the next after a reboot."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

from xenia.storage.door import leaving
from xenia.toolstack.config.device import Backing, DeviceConfig
from xenia.toolstack.config.disk import DiskConfig
from xenia.toolstack.config.net import NetConfig
from xenia.toolstack.config.share import ShareConfig
from xenia.toolstack.devices.device import Device
from xenia.toolstack.guest.guest import Guest
from xenia.toolstack.guest.state import State
from xenia.toolstack.guest.verbs import Verb
from xenia.toolstack.machine.domain import Domain
from xenia.toolstack.machine.machine import Machine
from xenia.toolstack.provision.boot import Boot
from xenia.toolstack.provision.initramfs import with_mounts
from xenia.toolstack.releases import Releases

Destination = int | Callable[[bytes], None]
"""Where a console goes: an open file, or who is called with what comes."""


@dataclass(frozen=True)
class Build(Verb[None]):
    """Take machine memory and load the kernel; the console goes to `sink`.  Legal once, when defined.

    store       where clients of the xenstore connect; else what the configuration says
    wall_in     called once all is open that has a name on the host
    cards       waits for the networks that were begun, of which it needs nothing but what is open already: the
                guest's network cards, in the place of those in its configuration, and what each stands on

    All are for a machine of the guest's own.  ConfigError: no such memory, a disk that cannot be opened, or a kernel
    that cannot boot as a PV guest.
    """

    boot: Boot
    sink: Destination
    store: socket.socket | None = None
    wall_in: Callable[[], None] = lambda: None
    cards: Callable[[], Sequence[tuple[DeviceConfig, Backing]]] | None = None

    legal = frozenset({State.DEFINED})
    name = "build"

    def begin(self, guest: Guest) -> Callable[[], None]:
        return partial(self._build_alone if guest.owns_machine else self._build_among_others, guest)

    def _build_alone(self, guest: Guest) -> None:
        config = guest.config
        memory = config.machine_memory or Machine.memory_for(config.most_memory)
        store = self.store if self.store is not None else config.xenstore
        devices: list[tuple[DeviceConfig, Backing]] = []
        machine: Machine | None = None
        try:
            with leaving() if config.jail else nullcontext():
                for device in _devices(guest) if self.cards is None else _but_cards(guest):
                    devices.append((device, device.open()))
            self.wall_in()
            machine = Machine(
                memory, scatter=config.scatter, xenstore_socket=store, jail=config.jail, engine=config.engine
            )
            domain = _domain(guest, machine, self.boot, self.sink)
            if self.cards is not None:
                devices += self.cards()
            for device, opened in devices:
                domain.attach(device, opened)
        except BaseException:
            with Releases() as releases:
                if machine is not None:
                    releases.do(machine.close)
                for _, opened in devices:
                    if not opened.closed:
                        releases.do(opened.close)
            raise
        guest.machine = machine
        guest.become(State.BUILT, domain)

    def _build_among_others(self, guest: Guest) -> None:
        assert guest.machine is not None
        domain = _domain(guest, guest.machine, self.boot, self.sink)
        try:
            for device in _devices(guest):
                domain.attach(device)
        except BaseException:
            domain.destroy()
            raise
        guest.become(State.BUILT, domain)


@dataclass(frozen=True)
class Rebuild(Verb[None]):
    """Put a new domain, loaded like the first, in the place of one that has ended.  It has the devices, the memory, the
    vcpus and the share of the processors that the other had in the end.

    Legal when shut down.  ConfigError as for Build.
    """

    boot: Boot
    sink: Destination

    legal = frozenset({State.SHUTDOWN})
    name = "rebuild"

    def begin(self, guest: Guest) -> Callable[[], None]:
        return partial(self._rebuild, guest)

    def _rebuild(self, guest: Guest) -> None:
        assert guest.machine is not None
        old = guest.require_domain()
        old.wait()  # for its last words
        plugged = [device for device in old.devices if not device.removed]
        share = old.sched.share if old.sched.nr_pcpus else None
        had = _had(old, guest.machine)
        domain: Domain | None = None
        taken: list[Backing] = []
        try:
            old.destroy(keep_layers=True)
            domain = _domain(guest, guest.machine, _again(self.boot, plugged), self.sink, **had)
            if share is not None:
                domain.sched.take(share)
            for device in plugged:
                if not device.behind.closed:  # as those are that were detached meanwhile
                    domain.attach(device.config, device.behind)
                    taken.append(device.behind)
        except BaseException:
            with Releases() as releases:
                if domain is not None:
                    releases.do(domain.destroy)
                for device in old.devices:
                    if device.removed and not any(device.behind is one for one in taken):
                        releases.do(device.close_behind)
            raise
        guest.become(State.BUILT, domain)


def _again(boot: Boot, plugged: Sequence[Device]) -> Boot:
    """The same for a guest that has these devices by now."""
    words = {
        device.name: device.config.agent_word
        for device in plugged
        if isinstance(device.config, ShareConfig | DiskConfig) and device.config.mount and not device.behind.closed
    }
    return replace(boot, ramdisk=with_mounts(boot.ramdisk, words))


def _devices(guest: Guest) -> tuple[DeviceConfig, ...]:
    cards = guest.config.cards
    return (*_but_cards(guest), *((NetConfig().for_guest(guest.config.name, 0),) if cards is None else cards))


def _but_cards(guest: Guest) -> tuple[DeviceConfig, ...]:
    return (*guest.config.disks, *guest.config.devices)


def _had(domain: Domain, machine: Machine) -> dict[str, int | None]:
    """The amounts that it was asked to have in the end."""
    memory = domain.memory_target
    return {
        "memory": memory, "max_memory": max(memory, min(domain.max_memory, machine.total_memory)),
        "vcpus": domain.nr_vcpus, "max_vcpus": domain.max_vcpus,
    }  # fmt: skip


def _domain(guest: Guest, machine: Machine, boot: Boot, sink: Destination, **had: int | None) -> Domain:
    asked = {name: getattr(guest.config, name) for name in ("memory", "max_memory", "vcpus", "max_vcpus")}
    return machine.create_domain(
        boot.kernel,
        name=guest.config.name,
        initrd=boot.ramdisk,
        cmdline=boot.command_line,
        clock=guest.config.clock,
        console=sink,
        engine=guest.config.engine,
        **{**asked, **had},
    )
