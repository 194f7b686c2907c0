"""How much a card may send, as xl says it: rate=10Mb/s@20ms (xl-network-configuration(5))."""

from __future__ import annotations

import re
from dataclasses import dataclass

from xenia.errors import ConfigError

_RATE = re.compile(r"([0-9]{1,9})([GMK]?)([Bb])/s(?:@([0-9]{1,9})(us|ms|s))?")
_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3}
_TIMES = {"us": 1, "ms": 1000, "s": 1000**2}
_INTERVAL = 50_000  # libxlu's
_MOST = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Rate:
    """So many bytes in so many microseconds, as netback is told by the key `rate`."""

    bytes: int
    microseconds: int

    def __str__(self) -> str:
        return f"{self.bytes},{self.microseconds}"


def parse_rate(text: str) -> Rate:
    """10Mb/s, 250KB/s, 1MB/s@20ms: bits or bytes by the letter, units of 1000, the interval 50 ms where none is said.
    ConfigError."""
    said = _RATE.fullmatch(text.strip())
    if said is None:
        raise ConfigError(f"'{text}' is no rate: write 10Mb/s (bits) or 250KB/s (bytes), and an interval as in @20ms")
    number, unit, kind, interval, time = said.groups()
    per_second = int(number) * _UNITS[unit] // (8 if kind == "b" else 1)
    microseconds = int(interval) * _TIMES[time] if interval else _INTERVAL
    if not 0 < microseconds <= _MOST:
        raise ConfigError(f"in the rate '{text}': an interval is from 1us to 4294s")
    credit = per_second * microseconds // 1_000_000
    if not 0 < credit <= _MOST:
        raise ConfigError(f"in the rate '{text}': that would be {credit} bytes in each interval")
    return Rate(credit, microseconds)
