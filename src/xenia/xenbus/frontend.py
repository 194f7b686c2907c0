"""What a frontend published, as its backend reads it."""

from __future__ import annotations

from xenia.foreign.fault import FrontendFault
from xenia.foreign.foreign import Foreign


class Frontend:
    """What a frontend published: the keys in its directory, each checked as it is read."""

    def __init__(self, foreign: Foreign, values: dict[str, str]) -> None:
        self.foreign = foreign
        self._values = values

    def has(self, key: str) -> bool:
        """Whether it published a key."""
        return key in self._values

    def text(self, key: str, default: str | None = None) -> str:
        """The value of a key.  Raises FrontendFault where it is missing and has no default."""
        value = self._values.get(key, default)
        if value is None:
            raise FrontendFault(f"the frontend published no {key}")
        return value

    def number(self, key: str, default: int | None = None, most: int = 0xFFFFFFFF) -> int:
        """A decimal number from 0 to `most`.  Raises FrontendFault where the key is missing or is no such number."""
        text = self.text(key, None if default is None else str(default))
        if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= most):
            raise FrontendFault(f"the frontend's {key} is {text[:40]!r}, not a number up to {most}")
        return int(text)

    def flag(self, key: str) -> bool:
        """Whether a key is there and not 0."""
        return self.number(key, 0) != 0
