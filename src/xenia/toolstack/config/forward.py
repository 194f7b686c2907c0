"""A port of the host that leads to a guest's: `-p 2222:22`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from xenia.errors import ConfigError

PROTOCOLS = ("tcp", "udp")
LOOPBACK = "127.0.0.1"
_PORT = re.compile(r"[0-9]{1,5}")
_ADDRESS = r"(?:\[[0-9A-Fa-f:.]+\]|[0-9.]*|\*|localhost)"
_SHORT = re.compile(rf"(?:({_ADDRESS}):)?([0-9]+):([0-9]+)(?:/([a-z]+))?")
_LONG = re.compile(rf"([a-z]*):(?:({_ADDRESS}):)?([0-9]+):([0-9]+)")
_QEMU = re.compile(rf"([a-z]*):({_ADDRESS}):([0-9]+)-({_ADDRESS}):([0-9]+)")


@dataclass(frozen=True, slots=True)
class Forward:
    """Who connects to `port` of the host at `address` is connected with the guest's `to`."""

    port: int
    to: int
    protocol: str = "tcp"
    address: str = LOOPBACK

    def __str__(self) -> str:
        """In the words of forward=."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.protocol}:{address}:{self.port}:{self.to}"


def parse_publish(text: str) -> Forward:
    """What -p says: [ADDRESS:]PORT:GUEST_PORT[/tcp|/udp].  ConfigError."""
    if not (said := _SHORT.fullmatch(text)):
        raise ConfigError(f"'{text}' is no port forward: write 2222:22, or 127.0.0.1:8080:80/tcp")
    address, port, to, protocol = said.groups()
    if address == "":  # docker and QEMU mean every address by that, who wrote it perhaps none
        raise ConfigError(
            f"the forward '{text}' names no address before its colon: {port}:{to} is of this host alone, "
            f"*:{port}:{to} of all that reach it"
        )
    return _forward(text, protocol, address, port, to)


def parse_forward(text: str) -> Forward:
    """What forward= says: [tcp|udp]:[ADDRESS:]PORT:GUEST_PORT, or as -p, or as QEMU's hostfwd=.  ConfigError."""
    if said := _LONG.fullmatch(text):
        protocol, address, port, to = said.groups()
        return _forward(text, protocol, address, port, to)
    if said := _QEMU.fullmatch(text):
        protocol, address, port, guest, to = said.groups()
        if guest:
            raise ConfigError(f"the forward '{text}' names a guest's address: the guest whose card it is gets it")
        return _forward(text, protocol, address, port, to)
    return parse_publish(text)


def _forward(text: str, protocol: str | None, address: str | None, port: str, to: str) -> Forward:
    if protocol and protocol not in PROTOCOLS:
        raise ConfigError(f"in the forward '{text}': '{protocol}' is not forwarded, tcp and udp are")
    for number in (port, to):
        if not _PORT.fullmatch(number) or not 0 < int(number) < 1 << 16:
            raise ConfigError(f"in the forward '{text}': '{number}' is no port")
    where = (address or LOOPBACK).strip("[]")
    where = {"*": "0.0.0.0", "localhost": LOOPBACK}.get(where, where)
    try:
        ipaddress.ip_address(where)
    except ValueError:
        raise ConfigError(f"in the forward '{text}': '{address}' is no address of this host") from None
    return Forward(int(port), int(to), protocol or "tcp", where)
