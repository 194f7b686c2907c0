"""What the agent is told, as it reads it: NAME=VALUE, each with a NUL behind it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from xenia.errors import ConfigError

MAX_CONFIG: Final = 1 << 20  # the agent reads no more
SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked up in the guest."""


def encoded(pairs: Iterable[tuple[str, str | bytes]], what: str) -> bytes:
    """The bytes of it all.  ConfigError where they are too many; `what` says then what it was."""
    data = b"".join(key.encode() + b"=" + _encode(value) + b"\0" for key, value in pairs)
    if len(data) > MAX_CONFIG:
        raise ConfigError(f"{what} takes {len(data)} bytes to say; at most {MAX_CONFIG} are taken")
    return data


def _encode(value: str | bytes) -> bytes:
    data = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise ConfigError("a command for the guest cannot contain NUL characters")
    return data
