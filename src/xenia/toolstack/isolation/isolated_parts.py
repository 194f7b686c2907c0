"""What a domain in the other process has: its console's input, its memory, its vcpus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from xenia.errors import GuestFault
from xenia.toolstack.machine.console import Dialogue
from xenia.toolstack.machine.guest_memory import GuestMemory
from xenia.toolstack.machine.vcpu import Vcpu

if TYPE_CHECKING:
    from xenia.backends.console.transcript import Transcript
    from xenia.toolstack.isolation.isolated import Remote

_AT_ONCE: Final = 128 << 10  # bytes of memory in one message


class IsolatedConsole(Dialogue):
    """The console of a guest in the other process."""

    def __init__(self, remote: Remote, domid: int, transcript: Transcript) -> None:
        self._remote, self._domid = remote, domid
        self.transcript = transcript

    def offer(self, data: bytes) -> int:
        """Give the guest input without waiting; how many of the bytes there was room for."""
        return int(self._remote.call("offer", domid=self._domid, data=data.decode("latin-1")))

    def send(self, data: bytes) -> None:
        """Give the guest input, waiting where it is slow to take it."""
        self._remote.call("send", domid=self._domid, data=data.decode("latin-1"))


class IsolatedMemory(GuestMemory):
    """Its memory: a call for each 128 KiB, between which the guest goes on unless it is paused."""

    def __init__(self, remote: Remote, domid: int, size: int) -> None:
        self.size = size
        self._remote, self._domid = remote, domid

    def _read(self, address: int, size: int, vcpu: int, physical: bool) -> bytes:
        found = bytearray()
        while not found or len(found) < size:
            at, length = address + len(found), min(size - len(found), _AT_ONCE)
            found += self._call("read", at, length, vcpu=vcpu, physical=physical).encode("latin-1")
            if not size:
                break
        return bytes(found)

    def _write(self, address: int, data: bytes, vcpu: int, physical: bool) -> None:
        for at in range(0, len(data), _AT_ONCE):
            part = data[at : at + _AT_ONCE].decode("latin-1")
            self._call("write", address + at, part, vcpu=vcpu, physical=physical)

    def _translate(self, address: int, vcpu: int) -> int:
        return int(self._call("translate", address, vcpu=vcpu))

    def _call(self, what: str, *arguments: object, **options: object) -> Any:
        answer = self._remote.call(
            "guest_memory", domid=self._domid, what=what, arguments=list(arguments), options=options
        )
        if "fault" in answer:
            raise GuestFault(*answer["fault"])
        return answer["done"]


class IsolatedVcpu(Vcpu):
    """One of its vcpus."""

    def __init__(self, remote: Remote, domid: int, number: int) -> None:
        self.number = number
        self._remote, self._domid = remote, domid

    @property
    def registers(self) -> dict[str, int]:
        return dict(self._call("registers"))

    @property
    def fpu(self) -> bytes:
        return bytes(self._call("fpu"), "latin-1")

    def set_registers(self, values: Mapping[str, int]) -> None:
        self._call("set_registers", dict(values))

    def set_fpu(self, area: bytes) -> None:
        self._call("set_fpu", area.decode("latin-1"))

    def _call(self, what: str, *arguments: object) -> Any:
        return self._remote.call("vcpu", domid=self._domid, number=self.number, what=what, arguments=list(arguments))
