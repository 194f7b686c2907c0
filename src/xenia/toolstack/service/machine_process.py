"""The walled process of the daemon's machine: python -m xenia.toolstack.service.machine_process DESCRIPTOR

It is the process of `Machine(isolate=True)`, and has guests instead of domains: what others may ask of a guest
(`toolstack/guest`) is carried out here, and what it takes of the host comes as open files.  A guest is known by a
number of the daemon's, which it keeps when it reboots.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from xenia.domain.build.bzimage import read_kernel_file, unpack
from xenia.domain.build.elf import load_elf
from xenia.errors import ConfigError
from xenia.storage.door import handed
from xenia.toolstack.config.machine import MachineConfig
from xenia.toolstack.control.channel import Channel
from xenia.toolstack.control.remote import handlers
from xenia.toolstack.devices.kinds import read_config
from xenia.toolstack.guest.build import Build, Rebuild
from xenia.toolstack.guest.guest import Guest
from xenia.toolstack.guest.verbs import Destroy, Start, Wait
from xenia.toolstack.isolation.isolated_process import Process, contents
from xenia.toolstack.provision.boot import Boot

# Vcpus that the domains may have at once: room for what they translate is set aside before the walls close.
NR_PROCESSORS = 256
_KEYS = 4096


@dataclass
class Place:
    """A guest, and the files that it is built from again when it reboots."""

    guest: Guest
    kernel_name: str
    kernel: int
    ramdisks: list[int]
    command_line: str
    console: socket.socket

    def boot(self) -> Boot:
        """What it boots."""
        image = contents(self.kernel)
        elf = load_elf(unpack(read_kernel_file(image, self.kernel_name), self.kernel_name), self.kernel_name)
        return Boot(elf, b"".join(map(contents, self.ramdisks)), self.command_line)

    def type_in(self) -> None:
        """Bring the guest what comes from its readers, until there is nothing more."""
        with suppress(OSError):
            while data := self.console.recv(_KEYS):
                if (domain := self.guest.domain) is not None:
                    domain.console.send(data)

    def close(self) -> None:
        """Give the files back."""
        for descriptor in (self.kernel, *self.ramdisks):
            os.close(descriptor)
        with suppress(OSError):
            self.console.shutdown(socket.SHUT_RDWR)  # which ends `type_in`
        self.console.close()


class MachineProcess(Process):
    """The machine, its guests, and what it is asked."""

    nr_processors = NR_PROCESSORS
    engine = "auto"

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel)
        self._places: dict[int, Place] = {}

    def _make(self, descriptors: list[int], **options: Any) -> None:
        super()._make(descriptors, **options)
        gc.freeze()  # all that is there by now stays: the collector need not look at it again

    def _do_build(
        self, descriptors: list[int], key: int, config: dict[str, Any], kernel_name: str, nr_ramdisks: int,
        command_line: str, devices: list[dict[str, Any]],
    ) -> int:  # fmt: skip
        """A guest that does not run yet; its domain's number.  The files are its console, its kernel, its RAM disks one
        behind the other, and those of its devices."""
        console, kernel, *rest = descriptors
        named = [name for device in devices for name in device["names"]]
        opened = list(zip(named, rest[nr_ramdisks:], strict=True))
        place = Place(
            Guest(MachineConfig(**config, cards=(), devices=()), self._machine), kernel_name, kernel,
            rest[:nr_ramdisks], command_line, socket.socket(fileno=console),
        )  # fmt: skip
        descriptors.clear()  # they are the place's, and its devices'
        try:
            with handed(opened):
                configs = tuple(read_config(device["kind"], device["config"]) for device in devices)
                place.guest.config = MachineConfig(**config, cards=(), devices=configs)
                place.guest.do(Build(place.boot(), place.console.fileno()))
        except BaseException:
            place.close()
            raise
        self._places[key] = place
        threading.Thread(target=place.type_in, name="keys", daemon=True).start()
        return place.guest.require_domain().domid

    def _place(self, key: int) -> Place:
        """ConfigError where it is gone, which who asks may not know yet."""
        if (place := self._places.get(key)) is None:
            raise ConfigError("it is gone")
        return place

    def _do_begin(self, _: list[int], key: int) -> None:
        self._place(key).guest.do(Start())

    def _do_await(self, _: list[int], key: int) -> object:
        """How the guest ended; None where it was destroyed."""
        guest = self._place(key).guest
        shutdown = guest.do(Wait())
        if shutdown is None:
            return None
        domain = guest.require_domain()
        return {**asdict(shutdown), "report": domain.crash_report, "status": domain.command_status}

    def _do_rebuild(self, _: list[int], key: int) -> int:
        """The next life of a guest that has ended; its domain's number."""
        place = self._place(key)
        place.guest.do(Rebuild(place.boot(), place.console.fileno()))
        return place.guest.require_domain().domid

    def _do_end(self, _: list[int], key: int) -> None:
        place = self._place(key)
        try:
            place.guest.do(Destroy())
        finally:
            self._places.pop(key, None)
            place.close()

    def _do_guest(self, descriptors: list[int], key: int, word: str, request: dict[str, Any]) -> object:
        """What others may ask of a guest: the verbs of `toolstack/guest`."""
        return handlers(self._place(key).guest)[word]({**request, "descriptors": descriptors})

    def _do_window(self, _: list[int], key: int, rows: int, columns: int) -> None:
        self._place(key).guest.resize_window(rows, columns)

    def _do_summaries(self, _: list[int]) -> object:
        """Of each guest, by its number as text, what `xl list` says."""
        return {str(key): place.guest.require_domain().summary for key, place in list(self._places.items())}


if __name__ == "__main__":
    MachineProcess(Channel(socket.socket(fileno=int(sys.argv[1])))).serve()
