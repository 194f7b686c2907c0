"""A network's forwards: ports of the host that lead to guests.

A forward is the guest's that it was made for, which is known by its MAC, or by its name when it comes again.  While
that guest is away the host's port is closed, and who has its address meanwhile does not get its connections.  One that
was made for an address which nobody had is the first guest's that is given it.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xenia.errors import ConfigError
from xenia.net.nat.nat import Nat
from xenia.net.service.host_ports import free_port, wait_until_free

_log = logging.getLogger(__name__)

_REFUSALS = {
    errno.EADDRINUSE: "another program listens there",
    errno.EACCES: "ports up to 1023 are the system's: take a higher one, such as 8080",
    errno.EADDRNOTAVAIL: "this host has no such address",
}


@dataclass
class Forward:
    """A port of the host's that leads to a guest.

    guest   that one's name; empty: not known
    card    the MAC that it was made for; None: none that was there
    mac     that of the card it leads to; None: whoever has the address
    there   whether it is there, and the port open
    """

    protocol: str
    address: str
    port: int
    to: str
    to_port: int
    guest: str = ""
    card: bytes | None = None
    mac: bytes | None = None
    there: bool = True

    @property
    def target(self) -> str:
        """Where it leads to."""
        return f"[{self.to}]:{self.to_port}" if ":" in self.to else f"{self.to}:{self.to_port}"

    def as_dict(self) -> dict[str, Any]:
        """As it is told."""
        return {key: getattr(self, key) for key in ("protocol", "address", "port", "to", "to_port", "guest", "there")}


class Forwards:
    """Those of one network."""

    def __init__(self, nat: Nat) -> None:
        self._nat = nat
        self._known: dict[tuple[str, str, int], Forward] = {}

    def add(self, forward: Forward) -> Forward:
        """One more; with port 0: from a port that is free.  ConfigError where it cannot be had.

        One that is there already is as well; one of a guest that is away gives way to another's.
        """
        protocol, address, port = forward.protocol, forward.address, forward.port
        if (other := self._known.get((protocol, address, port))) is not None:
            if other.there and (other.to, other.to_port) == (forward.to, forward.to_port):
                return other
            if other.there:
                owner = f": the guest '{other.guest}' has it" if other.guest else ""
                raise ConfigError(f"port {port}/{protocol} of {address} leads to {other.target} already{owner}")
            del self._known[protocol, address, port]
        try:
            if port == 0:
                forward.port = free_port(protocol, address)
            self._open(forward)
        except OSError as error:
            why = _REFUSALS.get(error.errno or 0, error.strerror)
            raise ConfigError(f"port {port}/{protocol} of {address} cannot be forwarded: {why}") from None
        self._known[protocol, address, forward.port] = forward
        return forward

    def remove(self, protocol: str, address: str, port: int) -> None:
        """Take one away: nobody is let in by it, and the port is free, when this returns.  ConfigError."""
        forward = self._known.pop((protocol, address, port), None)
        if forward is None:
            raise ConfigError(f"port {port}/{protocol} of {address} is not forwarded")
        self._close(forward)

    def came(self, mac: bytes, name: str, addresses: Sequence[str]) -> None:
        """A guest is there, with a card of that MAC: those that are its lead to it."""
        for forward in list(self._known.values()):
            its = forward.mac == mac or (bool(name) and forward.guest.lower() == name.lower())
            is_elsewhere = forward.card == mac != forward.mac  # with another card of its guest's, which came first
            if not (((not forward.there or is_elsewhere) and its) or (forward.mac is None and forward.to in addresses)):
                continue
            forward.guest, forward.mac, forward.there = name, mac, True
            family = [each for each in addresses if (":" in each) == (":" in forward.to)]
            if forward.to not in family and family:
                forward.to = family[0]
            self._reopen(forward)

    def left(self, mac: bytes) -> None:
        """The guest is away: those that are its lead nowhere, and what came by them has ended."""
        used = self._nat.pinned_addresses(mac)
        for forward in list(self._known.values()):
            if forward.there and forward.mac == mac:
                self._close(forward)
                forward.there = False
            elif forward.mac is None and forward.to in used:
                self._reopen(forward)

    def listed(self) -> list[dict[str, Any]]:
        """All of them."""
        return [forward.as_dict() for forward in self._known.values()]

    def _open(self, forward: Forward) -> None:
        here, there = (forward.address, forward.port), (forward.to, forward.to_port)
        self._nat.forward(forward.protocol, here, there, forward.mac)

    def _reopen(self, forward: Forward) -> None:
        self._close(forward)
        try:
            self._open(forward)
        except OSError as error:  # somebody else was faster
            del self._known[forward.protocol, forward.address, forward.port]
            place = f"port {forward.port}/{forward.protocol}"
            _log.warning("%s leads to %s no more: %s", place, forward.to, error.strerror)

    def _close(self, forward: Forward) -> None:
        self._nat.unforward(forward.protocol, (forward.address, forward.port))
        wait_until_free(forward.protocol, forward.address, forward.port)
