"""How a guest sees a network card, whatever it is plugged into."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from xenia.errors import ConfigError

MOST_QUEUES: Final = 8
LEAST_MTU: Final = 68  # RFC 791
MOST_MTU: Final = 9000
_PERIOD: Final = 50_000  # libxlu's
_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class VifConfig:
    """What a network card is like.  ConfigError where there can be none such.

    mac       its address, in lower case with colons; one card's, not a group's
    mtu       bytes of the largest datagram; a guest is told of it, and believes it if it likes (Linux takes its own)
    queues    how many the guest may use, each with two rings and a thread of ours
    credit    bytes that it may send in each `period` of so many microseconds; 0: as many as it likes
    """

    mac: str
    mtu: int = 1500
    queues: int = 4
    credit: int = 0
    period: int = _PERIOD

    def __post_init__(self) -> None:
        if not _MAC.fullmatch(self.mac) or int(self.mac[:2], 16) & 1:
            raise ConfigError(f"'{self.mac}' is no card's MAC: six bytes such as 00:16:3e:12:34:56, the first one even")
        if not LEAST_MTU <= self.mtu <= MOST_MTU:
            raise ConfigError(f"a card's MTU is from {LEAST_MTU} to {MOST_MTU} bytes, not {self.mtu}")
        if not 1 <= self.queues <= MOST_QUEUES:
            raise ConfigError(f"a card has from 1 to {MOST_QUEUES} queues, not {self.queues}")
        if self.credit < 0 or self.period < 1:
            raise ConfigError(f"{self.credit} bytes in each {self.period} microseconds are no rate")
