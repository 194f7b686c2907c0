"""Subnets of networks for which nobody chose one: others than those of networks that run.

A guest's own network has libslirp's (QEMU's), 10.0.2.0/24; that of its card number 1 is 10.0.3.0/24, and so on, so that
a guest with several tells them apart.  A network that was made has one of 10.64.0.0/10, which comes of its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network
from typing import NamedTuple
from zlib import crc32

from xenia.errors import ConfigError

_COUNT = 1 << 14  # networks of 256 addresses in 10.64.0.0/10
_FIRST6 = 0x4000  # those of cards come before


class Subnets(NamedTuple):
    """IPv4 and IPv6."""

    subnet: str
    subnet6: str


def of_card(number: int) -> Subnets:
    """Those of a network of a guest's own, by its card's number."""
    return Subnets(f"10.0.{2 + number}.0/24", f"fd00:78:656e:{number:x}::/64" if number else "fd00:78:656e::/64")


def of_network(name: str, taken: Iterable[str]) -> Subnets:
    """Those of a network of that name, none of the IPv4 ones that are taken.  ConfigError where all are."""
    others = [IPv4Network(each) for each in taken]
    first = crc32(name.encode())
    for step in range(_COUNT):
        number = (first + step) % _COUNT
        subnet = IPv4Network((10 << 24 | 64 << 16 | number << 8, 24))
        if not any(subnet.overlaps(other) for other in others):
            return Subnets(str(subnet), f"fd00:78:656e:{_FIRST6 + number:x}::/64")
    raise ConfigError("every subnet that a network would have is another's: choose one (--subnet)")
