"""The process of a machine that has one of its own: python -m xenia.toolstack.isolation.isolated_process DESCRIPTOR

Everything that has a name on the host comes as an open file with a request (`channel`).  The first request makes the
machine, behind closed walls; each later one is carried out on a thread of its own, for some wait.  When the other end
goes, so does everything here.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from xenia.cpu.registry import AUTO
from xenia.domain.build.bzimage import read_kernel_file, unpack
from xenia.domain.build.elf import load_elf
from xenia.errors import ConfigError, GuestFault, refusal_of_host
from xenia.storage.door import handed
from xenia.toolstack.control.channel import Channel
from xenia.toolstack.devices.device import Device
from xenia.toolstack.devices.kinds import read_config
from xenia.toolstack.isolation.jailed import NR_PROCESSORS, wall_in
from xenia.toolstack.machine.domain import Domain
from xenia.toolstack.machine.hypervisor_log import newest
from xenia.toolstack.machine.machine import Machine

VIOLATION_STATUS = 118
_LONGEST_FAULT = 4096  # characters
LIFE = ("pause", "unpause", "ask", "send_nmi", "crash", "rename", "set_vcpus")  # a domain's methods


class Process:
    """The machine, and what it is asked."""

    nr_processors = NR_PROCESSORS  # that its domains may have at once
    engine: str | None = None  # that they may have, besides the emulated one; None: the machine's

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._domains: dict[int, Domain] = {}
        self._consoles: dict[int, int] = {}
        self._machine: Machine | None = None
        self._engine = ""  # the machine's

    def serve(self) -> None:
        """Answer until the other end goes."""
        try:
            while (received := self._channel.receive()) is not None:
                request, descriptors = received
                if self._machine is None:  # on this thread: there is no other yet
                    self._answer(request, descriptors, self._make)
                else:
                    call = getattr(self, f"_do_{request['verb']}")
                    threading.Thread(target=self._answer, args=(request, descriptors, call), daemon=True).start()
        finally:
            if self._machine is not None:
                self._machine.close()

    def _answer(self, request: dict[str, Any], descriptors: list[int], call: Callable[..., object]) -> None:
        reply: dict[str, Any] = {"id": request["id"]}
        try:
            reply["answer"] = call(descriptors, **request["arguments"])
        except ConfigError as error:
            reply["refused"] = str(error)
        except Exception as fault:
            if (refusal := refusal_of_host(fault)) is not None:
                reply["refused"] = str(refusal)
            else:
                reply["fault"] = f"{type(fault).__name__}: {fault}"[:_LONGEST_FAULT]
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        try:
            self._channel.send(reply)
        except (OSError, TypeError, ValueError) as failure:
            with suppress(OSError):  # nobody is there any more
                self._channel.send({"id": request["id"], "fault": f"its answer cannot be said: {failure}"})

    def _make(self, descriptors: list[int], **options: Any) -> None:
        store = socket.socket(fileno=descriptors.pop()) if descriptors else None
        self._engine = str(options.get("engine", AUTO))
        wall_in(VIOLATION_STATUS, nr_processors=self.nr_processors, engine=self.engine or self._engine)
        self._machine = Machine(**options, xenstore_socket=store)

    def _do_create(self, descriptors: list[int], kernel: str, initrd: bool, console: bool, **options: Any) -> int:
        assert self._machine is not None
        if options.get("engine") not in (None, self._engine):
            raise ConfigError("an isolated machine has one engine for all of its domains: name it to the machine")
        files = iter(descriptors)
        image = contents(next(files))
        elf = load_elf(unpack(read_kernel_file(image, kernel), kernel), kernel)
        ramdisk = contents(next(files)) if initrd else None
        sink = os.dup(next(files)) if console else -1
        domain = self._machine.create_domain(elf, initrd=ramdisk, console=sink if console else None, **options)
        if console:
            self._consoles[domain.domid] = sink
        self._domains[domain.domid] = domain
        return domain.domid

    def _do_start(self, _: list[int], domid: int) -> None:
        self._domains[domid].start()

    def _do_wait(self, _: list[int], domid: int, timeout: float | None) -> object:
        shutdown = self._domains[domid].wait(timeout)
        if shutdown is None:
            return None
        self._end_console(domid)
        return {**asdict(shutdown), "report": self._domains[domid].crash_report}

    def _do_destroy(self, _: list[int], domid: int) -> None:
        try:
            self._domains[domid].destroy()
        finally:
            self._end_console(domid)

    def _do_offer(self, _: list[int], domid: int, data: str) -> int:
        return self._domains[domid].console.offer(data.encode("latin-1"))

    def _do_send(self, _: list[int], domid: int, data: str) -> None:
        self._domains[domid].console.send(data.encode("latin-1"))

    def _do_life(self, _: list[int], domid: int, what: str, arguments: list[Any]) -> None:
        if what not in LIFE:
            raise ConfigError(f"nothing of a domain's life is called {what}")
        getattr(self._domains[domid], what)(*arguments)

    def _do_guest_memory(
        self, _: list[int], domid: int, what: str, arguments: list[Any], options: dict[str, Any]
    ) -> object:
        memory = self._domains[domid].memory
        try:
            if what == "read":
                return {"done": memory.read(*arguments, **options).decode("latin-1")}
            if what == "translate":
                return {"done": memory.translate(*arguments, **options)}
            address, data = arguments
            memory.write(address, data.encode("latin-1"), **options)
            return {"done": None}
        except GuestFault as fault:
            return {"fault": [fault.va, fault.access]}

    def _do_vcpu(self, _: list[int], domid: int, number: int, what: str, arguments: list[Any]) -> object:
        vcpu = self._domains[domid].vcpus[number]
        match what:
            case "registers":
                return vcpu.registers
            case "fpu":
                return vcpu.fpu.decode("latin-1")
            case "set_registers":
                vcpu.set_registers(*arguments)
            case "set_fpu":
                vcpu.set_fpu(arguments[0].encode("latin-1"))
        return None

    def _do_exec(self, descriptors: list[int], domid: int, streams: list[str]) -> None:
        self._domains[domid].start_command(streams, descriptors)

    def _do_dump_core(self, descriptors: list[int], domid: int, form: str, live: bool, crash: bool) -> None:
        self._domains[domid].write_core(descriptors[0], form, live=live, crash=crash)

    def _do_summary(self, _: list[int], domid: int) -> object:
        return self._domains[domid].summary

    def _do_statistics(self, _: list[int], domid: int) -> object:
        return self._domains[domid].statistics

    def _do_attach(
        self, descriptors: list[int], domid: int, kind: str, config: dict[str, Any], names: list[str]
    ) -> str:
        opened = list(zip(names, descriptors, strict=True))
        descriptors.clear()
        with handed(opened):
            return self._domains[domid].attach(read_config(kind, config)).name

    def _do_unplug(self, _: list[int], timeout: float, **which: Any) -> bool:
        return self._device(**which).unplug(timeout)

    def _do_remove(self, _: list[int], **which: Any) -> None:
        self._device(**which).remove()

    def _do_dmesg(self, _: list[int]) -> list[str]:
        assert self._machine is not None
        return newest(self._machine.dmesg)

    def _do_clear_dmesg(self, _: list[int]) -> None:
        assert self._machine is not None
        self._machine.clear_dmesg()

    def _do_free_memory(self, _: list[int]) -> int:
        assert self._machine is not None
        return self._machine.free_memory

    def _do_total_memory(self, _: list[int]) -> int:
        assert self._machine is not None
        return self._machine.total_memory

    def _do_resident_memory(self, _: list[int]) -> int:
        assert self._machine is not None
        return self._machine.resident_memory

    def _do_memory(self, _: list[int], domid: int) -> list[int]:
        domain = self._domains[domid]
        return [domain.memory_target, domain.max_memory]

    def _do_set_memory(self, _: list[int], domid: int, size: int) -> None:
        self._domains[domid].set_memory(size)

    def _do_set_max_memory(self, _: list[int], domid: int, size: int) -> None:
        self._domains[domid].set_max_memory(size)

    def _device(self, domid: int, kind: str, name: str) -> Device:
        """The newest of that name."""
        devices = self._domains[domid].devices
        return next(device for device in reversed(devices) if (device.kind, device.name) == (kind, name))

    def _end_console(self, domid: int) -> None:
        """Its output is out: let the other end see the end of it."""
        descriptor = self._consoles.pop(domid, -1)
        if descriptor >= 0:
            os.close(descriptor)


def contents(descriptor: int) -> bytes:
    """All that is in an open file."""
    with open(os.dup(descriptor), "rb") as file:
        file.seek(0)
        return file.read()


if __name__ == "__main__":
    Process(Channel(socket.socket(fileno=int(sys.argv[1])))).serve()
