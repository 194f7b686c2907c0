"""Variables of a command in a guest, as a program gives them."""

from __future__ import annotations

from collections.abc import Iterable

from xenia.errors import ConfigError


def check_variables(names: Iterable[str]) -> None:
    """ConfigError where one of these cannot be a variable's name."""
    for name in names:
        if not name or "=" in name:
            raise ConfigError(f"env: {name!r} names no variable")
