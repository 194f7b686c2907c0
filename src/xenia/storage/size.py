"""The one rule by which sizes are read, of disks and of memory."""

from __future__ import annotations

import re

from xenia.errors import ConfigError

MIB = 1 << 20
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
MOST = 1 << 52  # what an x86 machine can address; no disk is larger either

_SIZE = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,20})?)(?:([KMGT])i?B?|B)?", re.IGNORECASE)
_PAGE = 4096


def parse_size(text: str) -> int:
    """The bytes of 512, 64K, 256M, 256MB, 256Mi, 256MiB or 0.5G: a bare number is bytes, units are powers of 1024.

    A fraction is rounded up to whole pages of 4096 bytes.  ConfigError for what is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or ("." in match[1] and not match[2]):
        raise ConfigError(
            f"'{text}' is not a size: write a number of bytes, or with K, M, G or T, such as 256M or 0.5G"
        )
    whole, _, fraction = match[1].partition(".")
    size, rest = divmod(int(whole + fraction) * UNITS[(match[2] or "").upper()], int(f"1{'0' * len(fraction)}"))
    if rest:
        size = -(-(size + 1) // _PAGE) * _PAGE
    if size >= MOST:
        raise ConfigError(f"'{text}' is beyond what an x86 machine can address")
    return size
