"""Guests with Debian's kernel and a shell that a test talks to, several in one machine."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import pytest

from tests.guests.stock import skip_without
from xenia.testing.guests import linux
from xenia.toolstack.config.machine import MIB
from xenia.toolstack.machine.domain import Domain
from xenia.toolstack.machine.machine import Machine
from xenia.toolstack.provision.initramfs import ENVIRONMENT

LIMIT = 120  # seconds


class Shell:
    """A guest that does what it is told, once its domain is started."""

    def __init__(
        self,
        machine: Machine,
        name: str,
        modules: Sequence[str],
        *,
        memory: int = 128,
        driver_domain: bool = False,
        files: Mapping[str, bytes] | None = None,
        vcpus: int = 1,
    ) -> None:
        skip_without("amd64", modules)
        self._heard = bytearray()
        self._changed = threading.Condition()
        self._count = 0
        self.domain: Domain = linux(
            machine,
            "stty -echo; exec sh",
            modules=modules,
            environment={**ENVIRONMENT, "PS1": "", "PS2": ""},
            append="quiet loglevel=1",
            memory=memory * MIB,
            name=name,
            console=self._hear,
            driver_domain=driver_domain,
            files=files,
            vcpus=vcpus,
        )

    def _hear(self, data: bytes) -> None:
        with self._changed:
            self._heard += data
            self._changed.notify_all()

    def begin(self, command: str) -> int:
        """Let it begin with a command; the answer is for `finish`."""
        self._count += 1
        self.domain.console.send(f"{{ {command}\n}} 2>&1; echo \"<$?:\"{self._count}'>'\n".encode())
        return self._count

    def finish(self, number: int) -> tuple[int, str]:
        """Wait for that command's end; its exit status and what it said since the last one ended."""
        end = f":{number}>\r\n".encode()
        with self._changed:
            if not self._changed.wait_for(lambda: end in self._heard, LIMIT):
                pytest.fail(f"no end of it: {bytes(self._heard)!r}")
            text, _, rest = bytes(self._heard).partition(end)
            self._heard[:] = rest
        said, _, status = text.decode().replace("\r", "").rpartition("<")
        return int(status), said

    def run(self, command: str) -> tuple[int, str]:
        """Run a command; its exit status and what it said."""
        return self.finish(self.begin(command))

    def do(self, command: str) -> str:
        """What a command says that has to go well."""
        status, said = self.run(command)
        assert status == 0, said
        return said

    def wait_for(self, said: bytes) -> None:
        """Wait until the command that runs has said that."""
        with self._changed:
            assert self._changed.wait_for(lambda: said in self._heard, LIMIT), bytes(self._heard)
