"""How an operator names a stack: 'file:data.img,crypt:key=@key,cow', from the bottom up.

Words are separated by commas, and a word's arguments by colons. A backslash makes the character after it an ordinary
one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from xenia.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Word:
    """One layer as it was written."""

    text: str  # as written
    name: str
    values: tuple[str, ...] = ()  # arguments without '='
    options: dict[str, str] = field(default_factory=dict)
    whole: str = ""  # all that the word is a part of

    def written(self) -> str:
        """The word as one may write it, from its parts."""
        options = [f"{quote(key)}={quote(value)}" for key, value in self.options.items()]
        return ":".join([self.name, *map(quote, self.values), *options])

    def error(self, message: str) -> ConfigError:
        """A complaint that points at this word."""
        where = f"in '{self.text}' of the disk '{self.whole}'" if self.text != self.whole else f"in '{self.text}'"
        return ConfigError(f"{where}: {message}")


def parse(text: str) -> list[Word]:
    """The words of a stack, from the bottom up."""
    words: list[Word] = []
    for raw in cut(text, ","):
        name, *arguments = cut(raw, ":")
        values: list[str] = []
        options: dict[str, str] = {}
        for argument in arguments:
            key, *value = cut(argument, "=")
            if not value:
                values.append(plain(key))
            elif key in options:
                raise ConfigError(f"in '{raw}': '{key}' is given twice")
            else:
                options[key] = plain("=".join(value))
        word = Word(raw, plain(name), tuple(values), options, text)
        if not word.name:
            raise ConfigError(f"the disk '{text}' has an empty word" if text else "a disk has no name")
        words.append(word)
    return words


def quote(text: str) -> str:
    """A path as a part of a word."""
    return "".join(f"\\{character}" if character in ",:=\\" else character for character in text)


def cut(text: str, separator: str) -> list[str]:
    """The parts between separators that no backslash makes ordinary; backslashes stay."""
    parts = [""]
    escaped = False
    for character in text:
        if character == separator and not escaped:
            parts.append("")
            continue
        parts[-1] += character
        escaped = character == "\\" and not escaped
    return parts


def plain(text: str) -> str:
    """A part as it is meant, without backslashes."""
    meant = ""
    escaped = False
    for character in text:
        if character == "\\" and not escaped:
            escaped = True
        else:
            meant += character
            escaped = False
    return meant
