"""Ethernet addresses of cards: what an operator writes, and those that cards get by themselves."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection

from xenia.errors import ConfigError

_XEN = "00:16:3e"  # Xensource's OUI: what every Xen gives its guests
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_MOST_TRIES = 1000


def parse_mac(text: str) -> str:
    """An address as six bytes in hexadecimal, with colons or dashes, in lower case.  ConfigError: it is none, or none
    that a single card can have."""
    mac = text.strip().lower().replace("-", ":")
    if not _MAC.fullmatch(mac):
        raise ConfigError(f"'{text}' is no MAC: write six bytes in hexadecimal, such as {_XEN}:12:34:56")
    if mac == "00:00:00:00:00:00":
        raise ConfigError(f"'{text}' is no card's MAC: no card has all zeros")
    if int(mac[:2], 16) & 1:
        raise ConfigError(f"'{text}' is no card's MAC: it is a group's; the first byte has to be even")
    return mac


def stable_mac(guest: str, card: int, place: str = "", taken: Collection[str | None] = ()) -> str:
    """The address of a guest's card of that number: always the same one, but for those that others have already.

    place   on what network, where a guest of that name may be elsewhere, too
    """
    for attempt in range(_MOST_TRIES):
        digest = hashlib.sha256("\0".join((guest, str(card), place, str(attempt))).encode()).digest()
        mac = f"{_XEN}:{digest[0] & 0x7F:02x}:{digest[1]:02x}:{digest[2]:02x}"
        if mac not in taken:
            return mac
    raise ConfigError(f"no MAC is free for another card of the guest '{guest}'")
