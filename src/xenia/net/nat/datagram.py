"""UDP datagrams in Ethernet frames, as our own servers get and send them."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

Address = IPv4Address | IPv6Address

_ETHERNET, _IPV4, _IPV6, _UDP = 14, 20, 40, 8
_PROTOCOL = 17
_LIFETIME = 64


@dataclass(frozen=True)
class Datagram:
    """One, with the addresses of all its headers."""

    target_mac: bytes
    source_mac: bytes
    source: Address
    target: Address
    source_port: int
    target_port: int
    data: bytes

    def answer(self, data: bytes) -> Datagram:
        """What goes back to where it came from."""
        return Datagram(
            self.source_mac, self.target_mac, self.target, self.source, self.target_port, self.source_port, data
        )

    def frame(self) -> bytes:
        """As a frame, whole and summed."""
        length = _UDP + len(self.data)
        udp = struct.pack(">HHHH", self.source_port, self.target_port, length, 0) + self.data
        pseudo = self.source.packed + self.target.packed + struct.pack(">II", length, _PROTOCOL)
        checksum = internet_checksum(pseudo + udp) or 0xFFFF
        udp = udp[:6] + checksum.to_bytes(2, "big") + udp[8:]
        if self.source.version == 4:
            header = struct.pack(">BBHHHBBH", 0x45, 0, _IPV4 + length, 0, 0, _LIFETIME, _PROTOCOL, 0)
            header += self.source.packed + self.target.packed
            header = header[:10] + internet_checksum(header).to_bytes(2, "big") + header[12:]
            return self.target_mac + self.source_mac + b"\x08\x00" + header + udp
        header = struct.pack(">IHBB", 6 << 28, length, _PROTOCOL, _LIFETIME) + self.source.packed + self.target.packed
        return self.target_mac + self.source_mac + b"\x86\xdd" + header + udp


def read_datagram(frame: bytes) -> Datagram | None:
    """The datagram of a frame; None for anything else.  Checksums are not looked at: no wire was crossed."""
    if len(frame) < _ETHERNET + _IPV4 + _UDP:
        return None
    kind, at = frame[12:14], _ETHERNET
    if kind == b"\x08\x00" and frame[at] >> 4 == 4 and frame[at + 9] == _PROTOCOL:
        source, target, end = frame[at + 12 : at + 16], frame[at + 16 : at + 20], at + (frame[at] & 15) * 4
    elif kind == b"\x86\xdd" and len(frame) >= at + _IPV6 + _UDP and frame[at + 6] == _PROTOCOL:
        source, target, end = frame[at + 8 : at + 24], frame[at + 24 : at + 40], at + _IPV6
    else:
        return None
    if len(frame) < end + _UDP:
        return None
    source_port, target_port, length = struct.unpack_from(">HHH", frame, end)
    if not _UDP <= length <= len(frame) - end:
        return None
    return Datagram(
        frame[:6], frame[6:12], ip_address(source), ip_address(target), source_port, target_port,
        frame[end + _UDP : end + length],
    )  # fmt: skip


def internet_checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data[: len(data) & ~1]))
    if len(data) % 2:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def name_bytes(name: str) -> bytes:
    """A name of DNS on the wire (RFC 1035, 3.1)."""
    labels = [label.encode() for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
