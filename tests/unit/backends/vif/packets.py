"""Frames of protocols that have a checksum."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from xenia.testing.packet import Packet

TO, FROM = bytes(range(6)), b"\x00\x16\x3e\x00\x00\x01"
ETHERNET = TO + FROM
NEEDS_CSUM, DATA_VALID = 1, 2
GSO_TCPV4, GSO_TCPV6 = 1, 4
TCP, UDP, ICMP = 6, 17, 1
OFFSETS = {TCP: 16, UDP: 6}  # of the checksum
HEADERS = {TCP: 20, UDP: 8, ICMP: 8}


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def frame(
    payload: bytes,
    *,
    protocol: int = TCP,
    version: int = 4,
    tag: int | None = None,
    fragment: int = 0,
    summed: bool = False,
) -> bytes:
    """A frame whose checksum is of the pseudo header alone, or right (`summed`)."""
    size = HEADERS[protocol] + len(payload)
    if version == 4:
        addresses = ip_address("10.0.0.1").packed + ip_address("10.0.0.2").packed
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + size, 1, fragment, 64, protocol, 0) + addresses
        head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
    else:
        addresses = ip_address("fd00::1").packed + ip_address("fd00::2").packed
        head = struct.pack(">IHBB", 6 << 28, size, protocol, 64) + addresses
    pseudo = addresses + struct.pack(">IHBB", size, 0, 0, protocol)
    match protocol:
        case 6:
            transport = struct.pack(">HHIIBBHHH", 1000, 80, 1, 1, 0x50, 0x18, 1000, 0, 0)
        case 17:
            transport = struct.pack(">HHHH", 1000, 53, size, 0)
        case _:
            transport = struct.pack(">BBHHH", 8, 0, 0, 1, 1)
    if protocol in OFFSETS:
        at = OFFSETS[protocol]
        total = checksum(pseudo + transport + payload) if summed else ~checksum(pseudo) & 0xFFFF
        transport = transport[:at] + struct.pack(">H", total) + transport[at + 2 :]
    kind = (b"" if tag is None else struct.pack(">HH", 0x8100, tag)) + (b"\x08\x00" if version == 4 else b"\x86\xdd")
    return ETHERNET + kind + head + transport + payload


def transport_of(version: int, tag: int | None = None) -> int:
    """Where the transport's header begins."""
    return 14 + 4 * (tag is not None) + (20 if version == 4 else 40)


def blank(payload: bytes, *, protocol: int = TCP, version: int = 4, gso_size: int = 0) -> Packet:
    """A frame of the network's whose checksum is to be filled in, or that is to be cut."""
    start = transport_of(version)
    kind = (GSO_TCPV4 if version == 4 else GSO_TCPV6) if gso_size else 0
    return Packet(
        frame(payload, protocol=protocol, version=version),
        NEEDS_CSUM,
        kind,
        start + 20 if gso_size else 0,
        gso_size,
        start,
        OFFSETS[protocol],
    )
