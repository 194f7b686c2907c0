"""Which guest has which address, and what it is called: what DHCP hands out and names are resolved from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from zlib import crc32

from xenia.errors import ConfigError
from xenia.net.nat.plan import Plan

OFFERED = 60.0
"""Seconds for which an address is kept for whom it was offered to."""
LEASED = 12 * 3600
"""Seconds of a lease."""
DECLINED = 600.0
"""Seconds for which an address is not given that somebody else seems to have (RFC 2131, 4.3.3)."""


@dataclass
class Entry:
    """An address and whose it is.

    name     what that is called; empty: not known
    port     where it is plugged in; None: it came over DHCP alone
    until    when the lease ends, on the monotonic clock; None: not before the port is gone
    leased   whether DHCP said that it is its
    mtu      of its card, where that is less than the network's
    """

    mac: bytes
    address: IPv4Address
    name: str = ""
    port: int | None = None
    until: float | None = None
    leased: bool = False
    mtu: int | None = None


class AddressBook:
    """The addresses of one network.

    in_order   give guests addresses one after the other; else such as come of their MACs, whoever comes first
    """

    def __init__(self, plan: Plan, in_order: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._plan = plan
        self._in_order = in_order
        self._clock = clock
        self._by_mac: dict[bytes, Entry] = {}
        self._by_address: dict[IPv4Address, Entry] = {}
        self._declined: dict[IPv4Address, float] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._by_mac.values()))

    def reserve(self, mac: bytes, name: str, port: int, wish: IPv4Address | None = None) -> Entry:
        """An address for a card that is plugged in.  ConfigError where there is none, or not this one."""
        known = self._by_mac.get(mac)
        if known is not None and known.port is not None:
            raise ConfigError(f"{known.name} is in the network with the address {mac.hex(':')} already")
        if wish is not None and wish not in self._plan.subnet:
            raise ConfigError(f"ip={wish} is not of the network, which is {self._plan.subnet}")
        if wish in (self._plan.gateway, self._plan.nameserver, self._plan.subnet[0], self._plan.subnet[-1]):
            raise ConfigError(f"ip={wish} is the network's own")
        holder = None if wish is None else self._by_address.get(wish)
        if holder is not None and holder.mac != mac and holder.port is not None:
            raise ConfigError(f"ip={wish} is {holder.name}'s already")
        if holder is not None and holder.mac != mac:
            self._forget(holder)
        if known is not None and wish in (None, known.address):
            known.name, known.port, known.until = name, port, None
            return known
        if known is not None:
            self._forget(known)
        address = wish or self._free(mac)
        if address is None:
            raise ConfigError(f"the network {self._plan.subnet} has no address left for {name}")
        return self._enter(Entry(mac, address, name, port))

    def leave(self, port: int) -> Entry | None:
        """A card is no longer there; what was known of it."""
        found = next((entry for entry in self if entry.port == port), None)
        if found is not None:
            self._forget(found)
        return found

    def offer(self, mac: bytes, name: str = "") -> Entry | None:
        """An address for who asks; None where there is none left."""
        entry = self._by_mac.get(mac)
        if entry is None:
            address = self._free(mac)
            if address is None:
                return None
            entry = self._enter(Entry(mac, address, until=self._clock() + OFFERED))
        if name and not entry.name and not self.find(name):
            entry.name = name
        return entry

    def lease(self, entry: Entry) -> None:
        """It took it."""
        entry.leased = True
        if entry.port is None:
            entry.until = self._clock() + LEASED

    def release(self, mac: bytes) -> None:
        """It has no use for it any more."""
        entry = self._by_mac.get(mac)
        if entry is not None:
            entry.leased = False
            if entry.port is None:
                entry.until = self._clock()

    def decline(self, mac: bytes) -> None:
        """It found somebody else there."""
        entry = self._by_mac.get(mac)
        if entry is not None and entry.port is None:
            self._declined[entry.address] = self._clock() + DECLINED
            self._forget(entry)

    def of(self, mac: bytes) -> Entry | None:
        """What is known of a MAC."""
        return self._by_mac.get(mac)

    def at(self, address: IPv4Address) -> Entry | None:
        """Who has an address."""
        return self._by_address.get(address)

    def find(self, name: str) -> list[IPv4Address]:
        """The addresses of who is called so."""
        return [entry.address for entry in self.named(name)]

    def named(self, name: str) -> list[Entry]:
        """Who is called so."""
        wanted = name.lower()
        return [entry for entry in self if entry.name.lower() == wanted]

    def left(self, entry: Entry) -> float | None:
        """Seconds until the lease ends."""
        return None if entry.until is None else max(0.0, entry.until - self._clock())

    def _free(self, mac: bytes) -> IPv4Address | None:
        guests = self._plan.guests
        start = 0 if self._in_order else crc32(mac) % len(guests)
        now = self._clock()
        for step in range(len(guests)):
            address = self._plan.subnet[guests[(start + step) % len(guests)]]
            if address not in self._by_address and self._declined.get(address, now) <= now:
                return address
        ended = [entry for entry in self if entry.until is not None and entry.until <= now]
        if not ended:
            return None
        oldest = min(ended, key=lambda entry: entry.until or 0.0)
        self._forget(oldest)
        return oldest.address

    def _enter(self, entry: Entry) -> Entry:
        self._by_mac[entry.mac] = entry
        self._by_address[entry.address] = entry
        return entry

    def _forget(self, entry: Entry) -> None:
        self._by_mac.pop(entry.mac, None)
        self._by_address.pop(entry.address, None)
