"""Blocks of a pcapng file that come once: its head and its end (draft-ietf-opsawg-pcapng).

What is captured is written in between, by recording.pyx.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

_SECTION, _INTERFACE, _STATISTICS = 0x0A0D0D0A, 1, 5
_BYTE_ORDER = 0x1A2B3C4D
_LINKTYPE_ETHERNET = 1
_NANOSECONDS = b"\x09"  # if_tsresol: 10 to the power of minus that

Options = Iterable[tuple[int, bytes]]


def _block(kind: int, body: bytes, options: Options) -> bytes:
    for code, value in options:
        body += struct.pack("=HH", code, len(value)) + value + bytes(-len(value) % 4)
    body += bytes(4)  # opt_endofopt
    length = 12 + len(body)
    return struct.pack("=II", kind, length) + body + struct.pack("=I", length)


def head(name: str, *, hardware: str, system: str, application: str, snaplen: int, mac: bytes = b"") -> bytes:
    """The section's header block, and the description of its only interface."""
    about = [(2, hardware.encode()), (3, system.encode()), (4, application.encode())]
    section = _block(_SECTION, struct.pack("=IHHq", _BYTE_ORDER, 1, 0, -1), about)
    interface = [(2, name.encode()), (9, _NANOSECONDS)]
    if mac:
        interface.append((6, mac))
    return section + _block(_INTERFACE, struct.pack("=HHI", _LINKTYPE_ETHERNET, 0, snaplen), interface)


def statistics(began: int, ended: int, received: int, dropped: int) -> bytes:
    """What became of the frames between two times (ns since the epoch): how many came by, how many are not there."""
    options = [(2, _time(began)), (3, _time(ended)), (4, struct.pack("=Q", received)), (5, struct.pack("=Q", dropped))]
    return _block(_STATISTICS, struct.pack("=I", 0) + _time(ended), options)


def _time(moment: int) -> bytes:
    return struct.pack("=II", moment >> 32, moment & 0xFFFFFFFF)
