"""Echoes of IPv6 to the world, which libslirp does not do: through the host's ping sockets (ICMPv6, RFC 4443, 4)."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address

from xenia.net.nat.datagram import internet_checksum
from xenia.net.nat.dns import Waiter
from xenia.net.nat.places import NoPlace, find_place

MOST = 64
"""Guests' programs that may wait for echoes at once."""
MOST_OF_ONE = 16
"""Of them, those of one guest."""
PATIENCE = 20.0
"""Seconds after the last request for which answers are waited for."""

_ETHERNET, _IPV6, _ICMP = 14, 40, 8
_REQUEST, _REPLY, _PROTOCOL = 128, 129, 58
_UNREACHABLE, _NO_ROUTE = 1, 0
_LIFETIME = 64


@dataclass
class _Asked:
    """A program of a guest's that sends requests, and its socket; `frame`: its last one."""

    connection: socket.socket
    frame: bytes
    last: float


class Echoes:
    """Those of one network.  `send` gets frames that go back to a guest."""

    def __init__(self, waiter: Waiter, send: Callable[[bytes], object]) -> None:
        self._waiter = waiter
        self._send = send
        self._asked: dict[tuple[bytes, bytes], _Asked] = {}

    def ask(self, frame: bytes) -> None:
        """A guest sends a request."""
        identifier = frame[_ETHERNET + _IPV6 + 4 : _ETHERNET + _IPV6 + 6]
        key = (frame[_ETHERNET + 8 : _ETHERNET + 24], identifier)  # its address
        asked = self._asked.get(key)
        if asked is None:
            asked = self._begin(key, frame)
        if asked is None:
            return
        asked.frame, asked.last = frame, time.monotonic()
        try:
            asked.connection.sendto(frame[_ETHERNET + _IPV6 :], (str(IPv6Address(_target(frame))), 0))
        except BlockingIOError:
            return
        except OSError:
            self._send(_unreachable(frame))

    def _begin(self, key: tuple[bytes, bytes], frame: bytes) -> _Asked | None:
        held = {each: asked.frame[6:12] for each, asked in self._asked.items()}
        try:
            taken = find_place(held, frame[6:12], MOST, MOST_OF_ONE)
        except NoPlace:
            return None
        if taken is not None:
            self._end(taken)
        try:
            connection = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMPV6)
        except OSError:  # no IPv6, or no pings for this user (net.ipv4.ping_group_range)
            self._send(_unreachable(frame))
            return None
        asked = self._asked[key] = _Asked(connection, frame, time.monotonic())
        self._waiter.add(connection.fileno(), lambda: self._answered(key))
        self._waiter.after(PATIENCE, lambda: self._look_after(key, asked))
        return asked

    def _answered(self, key: tuple[bytes, bytes]) -> None:
        asked = self._asked[key]
        try:
            data, place = asked.connection.recvfrom(65536)
        except BlockingIOError:  # what came was another's, and its number is
            return
        except OSError:
            self._send(_unreachable(asked.frame))
            return
        if len(data) >= _ICMP and data[0] == _REPLY:
            source = IPv6Address(place[0].partition("%")[0]).packed
            self._send(_frame(asked.frame, source, data[:1] + b"\0\0\0" + key[1] + data[6:]))

    def _look_after(self, key: tuple[bytes, bytes], asked: _Asked) -> None:
        if self._asked.get(key) is not asked:
            return
        left = asked.last + PATIENCE - time.monotonic()
        if left > 0:
            self._waiter.after(left, lambda: self._look_after(key, asked))
        else:
            self._end(key)

    def _end(self, key: tuple[bytes, bytes]) -> None:
        asked = self._asked.pop(key)
        self._waiter.remove(asked.connection.fileno())
        asked.connection.close()


def is_request(frame: bytes) -> bool:
    """Whether a frame is one of these."""
    at = _ETHERNET + _IPV6
    return frame[12:14] == b"\x86\xdd" and len(frame) >= at + _ICMP and frame[20] == _PROTOCOL and frame[at] == _REQUEST


def _target(frame: bytes) -> bytes:
    return frame[_ETHERNET + 24 : _ETHERNET + _IPV6]


def _unreachable(frame: bytes) -> bytes:
    message = struct.pack(">BBHI", _UNREACHABLE, _NO_ROUTE, 0, 0) + frame[_ETHERNET:][:1184]
    return _frame(frame, _target(frame), message)


def _frame(asked: bytes, source: bytes, message: bytes) -> bytes:
    """A message of ICMPv6 to whom `asked` came from."""
    target = asked[_ETHERNET + 8 : _ETHERNET + 24]
    checksum = internet_checksum(source + target + struct.pack(">II", len(message), _PROTOCOL) + message)
    message = message[:2] + checksum.to_bytes(2, "big") + message[4:]
    header = struct.pack(">IHBB", 6 << 28, len(message), _PROTOCOL, _LIFETIME) + source + target
    return asked[6:12] + asked[:6] + asked[12:14] + header + message
