"""The DHCP server of a user-mode network (RFC 2131, options of RFC 2132 and 3397).

It answers whoever asks with the address that the book has for its MAC, so that a guest's is the same whatever it says,
and after every reboot.  What is said to everybody (255.255.255.255) goes to who asked only, whose MAC is known (RFC
6085).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address

from xenia.net.nat.book import LEASED, AddressBook, Entry
from xenia.net.nat.datagram import Datagram, name_bytes
from xenia.net.nat.plan import Plan

SERVER, CLIENT = 67, 68
_REQUEST, _REPLY = 1, 2
_COOKIE = b"\x63\x82\x53\x63"
_HEADER = 236  # bytes before the cookie
_LEAST = 300  # bytes of a BOOTP message (RFC 1542, 2.1)

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)

_PAD, _END = 0, 255
_MASK, _ROUTER, _DNS, _HOST_NAME, _DOMAIN, _MTU, _BROADCAST = 1, 3, 6, 12, 15, 26, 28
_REQUESTED, _LEASE, _TYPE, _SERVER, _RENEWAL, _REBINDING, _SEARCH = 50, 51, 53, 54, 58, 59, 119

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_ANY = IPv4Address(0)
_EVERYBODY = IPv4Address("255.255.255.255")


@dataclass(frozen=True)
class Message:
    """What a client says."""

    kind: int
    transaction: bytes
    flags: int
    client: IPv4Address
    mac: bytes
    options: dict[int, bytes]

    def address(self, option: int) -> IPv4Address | None:
        """The address that an option holds."""
        data = self.options.get(option, b"")
        return IPv4Address(data) if len(data) == 4 else None


def read_message(data: bytes) -> Message | None:
    """A message of Ethernet's DHCP clients; None for what is no such."""
    if len(data) < _HEADER + 4 or data[_HEADER : _HEADER + 4] != _COOKIE:
        return None
    if (data[0], data[1], data[2]) != (_REQUEST, 1, 6):
        return None
    options: dict[int, bytes] = {}
    at = _HEADER + 4
    while at < len(data) and data[at] != _END:
        if data[at] == _PAD:
            at += 1
            continue
        if at + 2 > len(data) or at + 2 + data[at + 1] > len(data):
            return None
        options[data[at]] = options.get(data[at], b"") + data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]
    if len(options.get(_TYPE, b"")) != 1:
        return None
    return Message(
        options[_TYPE][0], data[4:8], int.from_bytes(data[10:12], "big"), IPv4Address(data[12:16]), data[28:34], options
    )


class DhcpServer:
    """Answers for one network, out of its book."""

    def __init__(self, plan: Plan, book: AddressBook) -> None:
        self._plan = plan
        self._book = book

    def answer(self, asked: Datagram) -> Datagram | None:
        """What is to be sent, if anything.  None of it is believed but that the sender has its MAC."""
        message = read_message(asked.data)
        if message is None or message.mac != asked.source_mac:
            return None
        match message.kind:
            case kind if kind == DISCOVER:
                entry = self._book.offer(message.mac, _host_name(message))
                return None if entry is None else self._say(asked, message, OFFER, entry)
            case kind if kind == REQUEST:
                return self._answer_request(asked, message)
            case kind if kind == DECLINE:
                self._book.decline(message.mac)
            case kind if kind == RELEASE:
                self._book.release(message.mac)
            case kind if kind == INFORM:
                return self._say(asked, message, ACK, None)
        return None

    def _answer_request(self, asked: Datagram, message: Message) -> Datagram | None:
        """RFC 2131, 4.3.2: an offer is taken, or an address is asked for again."""
        server = message.address(_SERVER)
        if server is not None and server != self._plan.gateway:
            return None  # it took somebody else's
        entry = self._book.offer(message.mac, _host_name(message))
        wanted = message.address(_REQUESTED) or message.client
        if entry is None or wanted != entry.address:
            return self._refuse(asked, message)
        self._book.lease(entry)
        return self._say(asked, message, ACK, entry)

    def _say(self, asked: Datagram, message: Message, kind: int, entry: Entry | None) -> Datagram:
        options = {_TYPE: bytes([kind]), _SERVER: self._plan.gateway.packed}
        mtu = self._plan.mtu
        if entry is not None:
            mtu = min(mtu, entry.mtu or mtu)
            options |= {
                _LEASE: LEASED.to_bytes(4, "big"),
                _RENEWAL: (LEASED // 2).to_bytes(4, "big"),
                _REBINDING: (LEASED * 7 // 8).to_bytes(4, "big"),
            }
            if _LABEL.fullmatch(entry.name):
                options[_HOST_NAME] = entry.name.encode()
        options |= {
            _MASK: self._plan.subnet.netmask.packed,
            _BROADCAST: self._plan.subnet.broadcast_address.packed,
            _ROUTER: self._plan.gateway.packed,
            _DNS: self._plan.nameserver.packed,
            _DOMAIN: self._plan.domain.encode(),
            _SEARCH: name_bytes(self._plan.domain),
            _MTU: mtu.to_bytes(2, "big"),
        }
        address = _ANY if entry is None else entry.address
        if message.client != _ANY:
            to = message.client
        elif message.flags & 0x8000 or entry is None:
            to = _EVERYBODY
        else:
            to = entry.address
        return self._packet(asked, message, address, options, to)

    def _refuse(self, asked: Datagram, message: Message) -> Datagram:
        options = {_TYPE: bytes([NAK]), _SERVER: self._plan.gateway.packed}
        return self._packet(asked, message, _ANY, options, _EVERYBODY)

    def _packet(
        self, asked: Datagram, message: Message, address: IPv4Address, options: dict[int, bytes], to: IPv4Address
    ) -> Datagram:
        nak = options[_TYPE][0] == NAK
        data = bytearray([_REPLY, 1, 6, 0]) + message.transaction + bytes(2) + message.flags.to_bytes(2, "big")
        data += (_ANY if nak else message.client).packed + address.packed + (_ANY if nak else self._plan.gateway).packed
        data += bytes(4) + message.mac + bytes(_HEADER - 34) + _COOKIE
        for option, value in options.items():
            data += bytes([option, len(value)]) + value
        data.append(_END)
        data += bytes(max(0, _LEAST - len(data)))
        return Datagram(
            asked.source_mac, _own_mac(self._plan), self._plan.gateway, to, SERVER, CLIENT, bytes(data),
        )  # fmt: skip


def _host_name(message: Message) -> str:
    """What it calls itself, where that can be a name."""
    name = message.options.get(_HOST_NAME, b"").decode("ascii", "replace").split(".")[0]
    return name if _LABEL.fullmatch(name) else ""


def _own_mac(plan: Plan) -> bytes:
    """The gateway's, as libslirp makes it."""
    return b"\x52\x55" + plan.gateway.packed
