"""Names of a user-mode network: those of its guests are answered here, all others by the host's name server.

A name is a guest's with the network's domain behind it, or alone; `host` and `gateway` are the gateway's, behind which
the host is.  What is said is RFC 1035's and 2308's; of a query nothing is changed but its number when it is forwarded,
and it goes from a port of its own, so that an answer is hard to forge (RFC 5452).
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from string import hexdigits
from typing import Protocol

from xenia.net.nat.book import AddressBook
from xenia.net.nat.datagram import Datagram, name_bytes
from xenia.net.nat.places import NoPlace, find_place
from xenia.net.nat.plan import Plan

PORT = 53
RESOLV_CONF = Path("/etc/resolv.conf")

MOST_FORWARDED = 128
"""Queries that may wait for an answer at once."""
MOST_OF_ONE = 32
"""Of them, those of one guest."""
PATIENCE = 2.0
"""Seconds for a name server, before the next one is asked."""
_LONGEST = 4096
_TTL = 10  # seconds: a guest's address may change
_READ_AGAIN = 1.0  # seconds

_A, _PTR, _SOA, _AAAA, _ANY, _IN = 1, 12, 6, 28, 255, 1
_RESPONSE, _AUTHORITATIVE, _RECURSION, _AVAILABLE = 0x8000, 0x0400, 0x0100, 0x0080
_OPCODE = 0x7800
_FORMAT_ERROR, _SERVER_FAILURE, _NO_SUCH_NAME, _NOT_IMPLEMENTED, _REFUSED = 1, 2, 3, 4, 5


Address6 = Callable[[bytes], IPv6Address | None]


class Waiter(Protocol):
    """What the servers' thread waits with."""

    def add(self, descriptor: int, call: Callable[[], object]) -> None:
        """Have it called when there is something to read."""

    def remove(self, descriptor: int) -> None:
        """No more."""

    def after(self, seconds: float, call: Callable[[], object]) -> None:
        """Have it called once, later."""


@dataclass(frozen=True)
class Question:
    """What is asked.  `end`: where the question ends in the message."""

    number: int
    flags: int
    name: str
    kind: int
    cls: int
    end: int


def read_question(data: bytes) -> Question | None:
    """The question of a query; None where there is not exactly one, or it is no query."""
    if len(data) < 12:
        return None
    number, flags, questions, answers, _, _ = struct.unpack_from(">6H", data)
    if flags & _RESPONSE or questions != 1 or answers:
        return None
    labels, at = [], 12
    while at < len(data) and data[at]:
        size = data[at]
        if size > 63 or at + 1 + size > len(data) or at > 12 + 255:
            return None
        labels.append(data[at + 1 : at + 1 + size].decode("latin-1"))
        at += 1 + size
    if at + 5 > len(data):
        return None
    kind, cls = struct.unpack_from(">HH", data, at + 1)
    return Question(number, flags, ".".join(labels).lower(), kind, cls, at + 5)


class NameServer:
    """Answers for one network.  `send` gets what goes back to a guest."""

    def __init__(
        self, plan: Plan, book: AddressBook, waiter: Waiter, send: Callable[[Datagram], object],
        resolv_conf: Path = RESOLV_CONF, port: int = PORT, address6: Address6 = lambda mac: None,
    ) -> None:  # fmt: skip
        """resolv_conf, port   where the host's name servers are named, and where they listen
        address6            the IPv6 address of the card with a MAC, where it is known
        """
        self._plan = plan
        self._book = book
        self._waiter = waiter
        self._send = send
        self._address6 = address6
        self._upstream = Upstream(resolv_conf)
        self._port = port
        self._forwarded: dict[int, Forwarded] = {}
        self.dropped = 0

    def ask(self, asked: Datagram) -> None:
        """A guest asks."""
        question = read_question(asked.data)
        if question is None:
            return
        if question.flags & _OPCODE:
            self._send(asked.answer(_reply(asked.data, question, _NOT_IMPLEMENTED)))
            return
        answer = self._local(asked.data, question)
        if answer is not None:
            self._send(asked.answer(answer))
        else:
            self._forward(asked, question)

    def _local(self, data: bytes, question: Question) -> bytes | None:
        """The answer where the name is of this network; None where it is not."""
        name, domain = question.name, self._plan.domain
        if name.endswith((".in-addr.arpa", ".ip6.arpa")):
            return self._reverse(data, question)
        inside = name == domain or name.endswith(f".{domain}")
        short = name.removesuffix(f".{domain}")
        if short in ("host", "gateway") and inside:
            found, found6 = [self._plan.gateway], []
        else:
            entries = self._book.named(short) if short and (inside or "." not in short) else []
            found = [entry.address for entry in entries]
            found6 = [address for entry in entries if (address := self._address6(entry.mac)) is not None]
        if not found and not inside:
            return None
        if not found and name != domain:
            return _reply(data, question, _NO_SUCH_NAME, authority=self._start_of_authority())
        records = [_record(_A, address.packed) for address in found] if question.kind in (_A, _ANY) else []
        if question.kind in (_AAAA, _ANY):
            records += [_record(_AAAA, address.packed) for address in found6]
        return _reply(data, question, 0, records, b"" if records else self._start_of_authority())

    def _reverse(self, data: bytes, question: Question) -> bytes | None:
        address, plan = _reversed(question.name), self._plan
        if address is None or not any(address in subnet for subnet in (plan.subnet, plan.subnet6) if subnet):
            return None
        entry = self._book.at(address) if isinstance(address, IPv4Address) else self._book.of(_mac_in(address))
        name = "gateway" if address in (plan.gateway, plan.gateway6) else entry.name if entry is not None else ""
        if not name:
            return _reply(data, question, _NO_SUCH_NAME, authority=self._start_of_authority())
        records = [_record(_PTR, name_bytes(f"{name}.{self._plan.domain}"))] if question.kind in (_PTR, _ANY) else []
        return _reply(data, question, 0, records, b"" if records else self._start_of_authority())

    def _start_of_authority(self) -> bytes:
        names = name_bytes(f"gateway.{self._plan.domain}") + name_bytes(f"nobody.{self._plan.domain}")
        data = names + struct.pack(">5I", 1, 3600, 600, 86400, _TTL)
        return name_bytes(self._plan.domain) + struct.pack(">HHIH", _SOA, _IN, _TTL, len(data)) + data

    def _forward(self, asked: Datagram, question: Question) -> None:
        held = {descriptor: waiting.asked.source_mac for descriptor, waiting in self._forwarded.items()}
        try:
            taken = find_place(held, asked.source_mac, MOST_FORWARDED, MOST_OF_ONE)
        except NoPlace:
            self.dropped += 1
            return
        if taken is not None:
            self.dropped += 1
            self._end(taken)
        self._try(Forwarded(asked, question, self._upstream.servers()))

    def _try(self, waiting: Forwarded) -> None:
        """Ask the next name server, or tell the guest that none answered."""
        while waiting.servers:
            connection = waiting.begin(self._port)
            if connection is None:
                continue
            self._wait(waiting, connection)
            return
        self._send(waiting.asked.answer(_reply(waiting.asked.data, waiting.question, _SERVER_FAILURE)))

    def _wait(self, waiting: Forwarded, connection: socket.socket) -> None:
        descriptor = connection.fileno()
        self._forwarded[descriptor] = waiting
        self._waiter.add(descriptor, lambda: self._answered(descriptor))
        self._waiter.after(PATIENCE, lambda: self._give_up(descriptor, waiting, connection))

    def _answered(self, descriptor: int) -> None:
        waiting = self._forwarded[descriptor]
        assert waiting.connection is not None
        try:
            data = waiting.connection.recv(_LONGEST)
        except BlockingIOError:  # it was another's, and its number is
            return
        except OSError:  # nobody is there
            self._end(descriptor)
            self._try(waiting)
            return
        if waiting.is_answer(data):
            self._end(descriptor)
            self._send(waiting.asked.answer(struct.pack(">H", waiting.question.number) + data[2:]))

    def _give_up(self, descriptor: int, waiting: Forwarded, connection: socket.socket) -> None:
        if self._forwarded.get(descriptor) is waiting and waiting.connection is connection:
            self._end(descriptor)
            self._try(waiting)

    def _end(self, descriptor: int) -> None:
        waiting = self._forwarded.pop(descriptor)
        self._waiter.remove(descriptor)
        if waiting.connection is not None:
            waiting.connection.close()
            waiting.connection = None


class Forwarded:
    """A query that another name server is asked, and those that can be asked still."""

    def __init__(self, asked: Datagram, question: Question, servers: list[str]) -> None:
        self.asked = asked
        self.question = question
        self.servers = servers
        self.connection: socket.socket | None = None
        self._number = 0

    def begin(self, port: int) -> socket.socket | None:
        """Ask the next one at that port; None where it cannot be."""
        server = self.servers.pop(0)
        self._number = int.from_bytes(os.urandom(2), "big")
        try:
            family = socket.AF_INET6 if ":" in server else socket.AF_INET
            connection = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError:
            return None
        try:
            connection.connect(_place(server, port))
            connection.send(struct.pack(">H", self._number) + self.asked.data[2:])
        except OSError:
            connection.close()
            return None
        self.connection = connection
        return connection

    def is_answer(self, data: bytes) -> bool:
        """Whether that is the answer to it: its number, and the question in it."""
        return (
            len(data) >= self.question.end
            and int.from_bytes(data[:2], "big") == self._number
            and data[2] & 0x80 != 0
            and data[4:6] == b"\0\1"
            and data[12 : self.question.end].lower() == self.asked.data[12 : self.question.end].lower()
        )


class Upstream:
    """The host's name servers, as its resolv.conf(5) says at the time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at = -_READ_AGAIN
        self._stamp: tuple[int, int, int] | None = None
        self._servers: list[str] = []

    def servers(self) -> list[str]:
        """Their addresses, in order."""
        now = time.monotonic()
        if now - self._read_at >= _READ_AGAIN:
            self._read_at = now
            try:
                status = os.stat(self._path)
                stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
                if stamp != self._stamp:
                    self._servers = _name_servers(self._path.read_text(errors="replace"))
                    self._stamp = stamp
            except OSError:
                self._stamp = None
        return list(self._servers) or ["127.0.0.1"]  # as resolv.conf(5) has it


def _name_servers(text: str) -> list[str]:
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver":
            try:
                ip_address(words[1].partition("%")[0])
            except ValueError:
                continue
            found.append(words[1])
    return found[:3]


def _place(server: str, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
    address, _, scope = server.partition("%")
    if ":" not in address:
        return address, port
    try:
        number = int(scope) if scope.isdigit() else socket.if_nametoindex(scope) if scope else 0
    except OSError:
        number = 0
    return address, port, 0, number


def _reversed(name: str) -> IPv4Address | IPv6Address | None:
    """The address that a name of in-addr.arpa or ip6.arpa stands for (RFC 1035, 3.5; RFC 3596, 2.5)."""
    *digits, family, _ = name.split(".")
    try:
        if family == "in-addr":
            return IPv4Address(".".join(reversed(digits)))
        if len(digits) == 32 and all(len(digit) == 1 and digit in hexdigits for digit in digits):
            return IPv6Address(int("".join(reversed(digits)), 16))
    except ValueError:
        pass
    return None


def _mac_in(address: IPv6Address) -> bytes:
    """The MAC that it was made of (RFC 4291, appendix A); empty: of none."""
    packed = address.packed
    return bytes([packed[8] ^ 2]) + packed[9:11] + packed[13:] if packed[11:13] == b"\xff\xfe" else b""


def _record(kind: int, data: bytes) -> bytes:
    """A record of the name that was asked for."""
    return b"\xc0\x0c" + struct.pack(">HHIH", kind, _IN, _TTL, len(data)) + data


def _reply(
    data: bytes, question: Question, code: int, records: list[bytes] | None = None, authority: bytes = b""
) -> bytes:
    answers = records or []
    flags = _RESPONSE | _AVAILABLE | question.flags & (_OPCODE | _RECURSION) | code
    if code in (0, _NO_SUCH_NAME):
        flags |= _AUTHORITATIVE
    header = struct.pack(">6H", question.number, flags, 1, len(answers), 1 if authority else 0, 0)
    return header + data[12 : question.end] + b"".join(answers) + authority
