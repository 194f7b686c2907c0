"""What the agent is told, as it reads it: NAME=VALUE, each with a NUL behind it.

`xenia exec` loads this and little else.
"""

from __future__ import annotations

from xenia.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

MAX_CONFIG: Final = 1 << 20  # the agent reads no more
SEARCH_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Where programs are looked up in the guest."""


def encoded(pairs: Iterable[tuple[str, str | bytes]], what: str) -> bytes:
    """The bytes of it all.  ConfigError where they are too many; `what` says then what it was."""
    data = b"".join(key.encode() + b"=" + _encode(value) + b"\0" for key, value in pairs)
    if len(data) > MAX_CONFIG:
        raise ConfigError(f"{what} takes {len(data)} bytes to say; at most {MAX_CONFIG} are taken")
    return data


def command_pairs(
    args: Iterable[str | bytes], environment: Iterable[tuple[str, str]], directory: str, user: str
) -> list[tuple[str, str | bytes]]:
    """What is said of a command without a terminal that is asked for while the guest runs."""
    pairs: list[tuple[str, str | bytes]] = [("mode", "command"), ("cwd", directory), ("user", user)]
    pairs += [("env", f"{name}={value}") for name, value in environment]
    return [*pairs, *(("arg", argument) for argument in args)]


def _encode(value: str | bytes) -> bytes:
    data = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise ConfigError("a command for the guest cannot contain NUL characters")
    return data
