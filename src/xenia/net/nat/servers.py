"""The servers of a user-mode network that are ours: addresses and names, for packets that the stack does not see."""

from __future__ import annotations

from xenia.net.nat import dhcp
from xenia.net.nat.book import AddressBook
from xenia.net.nat.datagram import Datagram, read_datagram
from xenia.net.nat.dns import Address6, NameServer, Waiter
from xenia.net.nat.echo import Echoes, is_request
from xenia.net.nat.nat import Nat
from xenia.net.nat.plan import Plan


class Servers:
    """Both, of one network, on the thread of `waiter`."""

    def __init__(self, plan: Plan, book: AddressBook, nat: Nat, waiter: Waiter, address6: Address6) -> None:
        """address6   the IPv6 address of the card with a MAC, where it is known"""
        self._nat = nat
        self._dhcp = dhcp.DhcpServer(plan, book)
        self._names = NameServer(plan, book, waiter, self._send, address6=address6)
        self._echoes = Echoes(waiter, nat.put)
        waiter.add(nat.asides_descriptor, self._serve)

    @property
    def dropped(self) -> int:
        """Queries for which there was no room."""
        return self._names.dropped

    def _serve(self) -> None:
        for frame in self._nat.take_asides():
            if is_request(frame):
                self._echoes.ask(frame)
                continue
            asked = read_datagram(frame)
            if asked is None:
                continue
            if asked.target_port == dhcp.SERVER:
                answer = self._dhcp.answer(asked)
                if answer is not None:
                    self._send(answer)
            else:
                self._names.ask(asked)

    def _send(self, datagram: Datagram) -> None:
        self._nat.put(datagram.frame())
