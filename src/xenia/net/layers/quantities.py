"""How an operator writes times, rates, amounts and chances."""

from __future__ import annotations

import re
from fractions import Fraction

from xenia.errors import ConfigError

_NUMBER = r"([0-9]{1,15}(?:\.[0-9]{1,9})?)"
_TIME = re.compile(_NUMBER + "(ns|us|ms|s)")
_RATE = re.compile(_NUMBER + r"([kMG]?)(?:(bit|b)(?:/s|ps)?|(B)(?:/s|ps))")
_BYTES = re.compile(_NUMBER + r"([kKMG]?)(?:i?B)?")
_CHANCE = re.compile(_NUMBER + "(%?)")
_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
_DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
_BINARY = {"": 1, "k": 1 << 10, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
MOST_TIME = 60 * 10**9


def parse_time(text: str) -> int:
    """Nanoseconds of 20ms, 1.5s, 100us or 500ns, a minute at the most.  ConfigError."""
    match = _TIME.fullmatch(text)
    if match is None or Fraction(match[1]) * _NS[match[2]] > MOST_TIME:
        raise ConfigError(f"'{text}' is no time: write one such as 20ms, 100us or 1.5s, a minute at the most")
    return int(Fraction(match[1]) * _NS[match[2]])


def parse_rate(text: str) -> int:
    """Bits a second of 10Mb/s, 10Mbit, 1.5Gb/s, or 1MB/s, which is bytes; units are powers of 1000.  ConfigError."""
    match = _RATE.fullmatch(text)
    rate = 0 if match is None else int(Fraction(match[1]) * _DECIMAL[match[2]] * (8 if match[4] else 1))
    if not 1000 <= rate <= 10**12:
        raise ConfigError(f"'{text}' is no rate: write bits a second such as 10Mb/s, 1kb/s at the least, or 1MB/s")
    return rate


def parse_bytes(text: str) -> int:
    """Bytes of 1500, 64K or 10M; units are powers of 1024.  ConfigError."""
    match = _BYTES.fullmatch(text)
    if match is None or ("." in match[1] and not match[2]):
        raise ConfigError(f"'{text}' is no number of bytes: write one such as 1500, 64K or 10M")
    return int(Fraction(match[1]) * _BINARY[match[2]])


def parse_chance(text: str) -> float:
    """From 0 to 1, of 1%, 0.5% or 0.01; who writes 1 is asked which he means.  ConfigError."""
    match = _CHANCE.fullmatch(text)
    chance = Fraction(2) if match is None else Fraction(match[1]) / (100 if match[2] else 1)
    if chance > 1 or (chance == 1 and text != "100%"):
        raise ConfigError(f"'{text}' is no share of the frames: write one such as 1%, 100% at the most")
    return float(chance)


def parse_count(text: str) -> int:
    """A whole number.  ConfigError."""
    if not re.fullmatch("[0-9]{1,19}", text):
        raise ConfigError(f"'{text}' is no number")
    return int(text)
