"""Hosts of a network: namespaces of the host's, each with interfaces of its own."""

from __future__ import annotations

import array
import ctypes
import fcntl
import hashlib
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_CLONE_NEWNET = 0x40000000
_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17  # linux/sockios.h, linux/ethtool.h
_libc = ctypes.CDLL(None, use_errno=True)


class Host:
    """A network namespace, which lives until it is closed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo up; exec sleep infinity"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            assert self._process.stderr is not None
            told = self._process.stderr.read().decode().strip()
            self.close()
            pytest.skip(f"this host gives us no network namespace: {told}")
        self.run("ip link set lo up")

    @property
    def pid(self) -> int:
        """Of a process within."""
        return self._process.pid

    @property
    def within(self) -> list[str]:
        """What to write before a command that is to run within."""
        return ["nsenter", "-t", str(self.pid), "-n"]

    def run(self, *commands: str) -> str:
        """Run them within; what they say."""
        return "".join(
            subprocess.run(
                [*self.within, "sh", "-ec", command],
                check=True, stdout=subprocess.PIPE, text=True, timeout=30,
            ).stdout
            for command in commands
        )  # fmt: skip

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is within."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            with Path(f"/proc/{self.pid}/ns/net").open("rb") as there:
                assert _libc.setns(there.fileno(), _CLONE_NEWNET) == 0
            yield
        finally:
            assert _libc.setns(own, _CLONE_NEWNET) == 0
            os.close(own)

    def sum_by_itself(self, interface: str) -> None:
        """Have it fill in checksums before frames leave by that interface, as one without offloads has to."""
        value = array.array("I", [_ETHTOOL_STXCSUM, 0])
        request = struct.pack("=16sQ16x", interface.encode(), value.buffer_info()[0])
        with self.entered(), socket.socket() as asking:
            fcntl.ioctl(asking, _SIOCETHTOOL, request)

    def close(self) -> None:
        """Let it end, with its interfaces."""
        self._process.kill()
        self._process.communicate()


def exchange(client: Host, server: Host, address: str, size: int, port: int = 4000) -> None:
    """Send so many bytes both ways at once over TCP, and hold their checksums against each other."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with server.entered():
        listener = socket.create_server((address, port), family=family)
    with listener, client.entered():
        listener.settimeout(30)
        one = socket.create_connection((address, port), timeout=30)
        other, _ = listener.accept()
    with one, other:
        other.settimeout(30)
        ends = [End(one, size), End(other, size)]
        for end in ends:
            end.join(120)
        assert [end.received for end in ends] == [end.sent for end in reversed(ends)]


class End:
    """Of a connection: sends so many bytes, and ends, if any; takes what comes. MD5 sums."""

    def __init__(self, connection: socket.socket, size: int) -> None:
        self.sent = self.received = ""
        self._connection = connection
        self._size = size
        self._threads = [threading.Thread(target=do, daemon=True) for do in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def join(self, timeout: float) -> None:
        """Until all went and the other side ended."""
        for thread in self._threads:
            thread.join(timeout)
            assert not thread.is_alive(), "no end in time"

    def _send(self) -> None:
        digest, left = hashlib.md5(), self._size
        block = os.urandom(1 << 20)
        while left:
            piece = block[: min(left, len(block))]
            digest.update(piece)
            self._connection.sendall(piece)
            left -= len(piece)
        if self._size:
            self._connection.shutdown(socket.SHUT_WR)
        self.sent = digest.hexdigest()

    def _receive(self) -> None:
        digest = hashlib.md5()
        while piece := self._connection.recv(1 << 20):
            digest.update(piece)
        self.received = digest.hexdigest()
