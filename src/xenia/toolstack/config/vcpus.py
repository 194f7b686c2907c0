"""How many vcpus a guest has: `4`, or `2,maxvcpus=8`."""

from __future__ import annotations

from xenia.errors import ConfigError

MOST_VCPUS = 16


def check_vcpus(vcpus: int, max_vcpus: int | None = None) -> int:
    """How many the guest has at most.  ConfigError for numbers that cannot be had."""
    most = vcpus if max_vcpus is None else max_vcpus
    if not 1 <= vcpus <= MOST_VCPUS:
        raise ConfigError(f"vcpus {vcpus}: a guest has 1 to {MOST_VCPUS}")
    if not vcpus <= most <= MOST_VCPUS:
        raise ConfigError(f"maxvcpus {most}: it is at least vcpus ({vcpus}), and at most {MOST_VCPUS}")
    return most


def parse_vcpus(text: str) -> tuple[int, int | None]:
    """`N[,maxvcpus=M]`: the vcpus that the guest begins with, and how many it may have (None: as many)."""
    first, comma, rest = text.partition(",")
    key, equals, most = rest.partition("=")
    if not first.isdecimal() or (comma and (key != "maxvcpus" or not equals or not most.isdecimal())):
        raise ConfigError(f"'{text}' is no number of vcpus: write 4, or 2,maxvcpus=8")
    vcpus, max_vcpus = int(first), int(most) if comma else None
    check_vcpus(vcpus, max_vcpus)
    return vcpus, max_vcpus
