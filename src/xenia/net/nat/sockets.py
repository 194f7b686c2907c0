"""Addresses as the host's sockets take them."""

from __future__ import annotations

import socket
import struct


def socket_address(address: str, port: int) -> bytes:
    """A struct sockaddr_in, or sockaddr_in6 (netinet/in.h)."""
    if ":" in address:
        packed = socket.inet_pton(socket.AF_INET6, address)
        return struct.pack("=H2sI16sI", socket.AF_INET6, port.to_bytes(2, "big"), 0, packed, 0)
    packed = socket.inet_pton(socket.AF_INET, address)
    return struct.pack("=H2s4s8x", socket.AF_INET, port.to_bytes(2, "big"), packed)
