"""The grammar of xl.cfg(5), as libxlu has it: assignments of strings, numbers and lists, nothing to be carried out.

    name = "web"; memory = 0x200        # two statements
    disk = [ "file:/data/web.img,xvda,w",
             'phy:vg/swap,xvdb,w' ]
    extra += " quiet"

A string has either quotes, and C's escapes between them; a number is decimal, hexadecimal or octal; a list may be
nested, go over several lines and end in a comma.  A newline or `;` ends a statement.  The last of several assignments
to one name counts, and `+=` adds to what it had.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from xenia.errors import ConfigError

Plain = str | list["Value"]


@dataclass(frozen=True)
class Value:
    """What a name was assigned: text, also for a number, or a list; and the line that it began in."""

    plain: Plain
    line: int

    @property
    def text(self) -> str | None:
        """The text; None for a list."""
        return self.plain if isinstance(self.plain, str) else None


class _Token(NamedTuple):
    kind: str
    text: str
    line: int


_TOKENS = re.compile(
    r"""
    (?P<space>[ \t\r\f]+ | \#[^\n]*)
    | (?P<end>\n | ;)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<number>[0-9][0-9A-Fa-fxX]*)
    | (?P<python>'''|\"\"\")
    | (?P<string>'(?:[^'\\\n]|\\[^\n])*' | "(?:[^"\\\n]|\\[^\n])*")
    | (?P<sign>\+= | [=\[\],])
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)")
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_DEEPEST = 16  # lists within each other
_FIRST_LINES = ("import ", "from ", "def ", "if ", "for ", "print ")


def parse(text: str, source: str = "config") -> dict[str, Value]:
    """What a configuration assigns, by name.  ConfigError with the `source` and the line that cannot be understood."""
    return _Parser(text, source).read()


class _Parser:
    def __init__(self, text: str, source: str) -> None:
        self._source = source
        self._text = text
        self._tokens = self._split()
        self._token = next(self._tokens)
        self._settings: dict[str, Value] = {}

    def read(self) -> dict[str, Value]:
        while self._token.kind != "over":
            if self._token.kind == "end":
                self._next()
            else:
                self._assignment()
        return self._settings

    def _assignment(self) -> None:
        name = self._take("name", "a name")
        sign = self._token.text
        if self._token.kind != "sign" or sign not in ("=", "+="):
            raise self._error("= or += comes after a name", self._token)
        self._next()
        value = self._value()
        if self._token.kind not in ("end", "over"):
            raise self._error("a statement ends with its line, or ;", self._token)
        self._settings[name.text] = self._added(name, value) if sign == "+=" else value

    def _added(self, name: _Token, value: Value) -> Value:
        old = self._settings.get(name.text)
        if old is None:
            return value
        if isinstance(old.plain, str) and isinstance(value.plain, str):
            return Value(old.plain + value.plain, old.line)
        if isinstance(old.plain, list) and isinstance(value.plain, list):
            return Value([*old.plain, *value.plain], old.line)
        raise self._error("+= adds a string to a string, and a list to a list", name)

    def _value(self, depth: int = 0) -> Value:
        token = self._token
        if token.kind == "string":
            self._next()
            return Value(self._unquoted(token), token.line)
        if token.kind == "number":
            self._next()
            return Value(token.text, token.line)
        if token.kind == "sign" and token.text == "[":
            if depth == _DEEPEST:
                raise self._error(f"lists are within each other {_DEEPEST} deep at the most", token)
            self._next()
            return Value(self._list(depth + 1), token.line)
        raise self._error("a value is a number, a list, or a string in quotes", token)

    def _list(self, depth: int) -> list[Value]:
        values: list[Value] = []
        self._skip_newlines()
        while self._token.text != "]" or self._token.kind != "sign":
            values.append(self._value(depth))
            self._skip_newlines()
            if self._token.kind == "sign" and self._token.text == ",":
                self._next()
                self._skip_newlines()
            elif self._token.kind != "sign" or self._token.text != "]":
                raise self._error(", or ] comes after a value of a list", self._token)
        self._next()
        return values

    def _skip_newlines(self) -> None:
        while self._token.kind == "end" and self._token.text == "\n":
            self._next()

    def _unquoted(self, token: _Token) -> str:
        def character(found: re.Match[str]) -> str:
            what = found[1]
            if what[0] == "x" and len(what) > 1:
                return chr(int(what[1:], 16))
            if what[0] in "01234567":
                return chr(int(what, 8) & 0xFF)
            if what in _ESCAPED or what in "\\'\"":
                return _ESCAPED.get(what, what)
            raise self._error(f"there is no \\{what} in a string", token)

        return _ESCAPE.sub(character, token.text[1:-1])

    def _take(self, kind: str, what: str) -> _Token:
        token = self._token
        if token.kind != kind:
            raise self._error(f"{what} begins a statement", token)
        self._next()
        return token

    def _next(self) -> None:
        self._token = next(self._tokens)

    def _split(self) -> Iterator[_Token]:
        line, at = 1, 0
        while at < len(self._text):
            found = _TOKENS.match(self._text, at)
            if found is None:
                raise self._error("nothing here begins so", _Token("", self._text[at : at + 1], line))
            kind = found.lastgroup or ""
            token = _Token(kind, found[0], line)
            if kind == "python":
                raise self._error("strings of Python's, over several lines, are none of xl's", token)
            if kind != "space":
                yield token
            line += found[0].count("\n")
            at = found.end()
        while True:
            yield _Token("over", "", line)

    def _error(self, message: str, token: _Token) -> ConfigError:
        lines = self._text.splitlines()
        whole = lines[token.line - 1].strip() if token.line <= len(lines) else ""
        if whole.startswith(_FIRST_LINES):
            message = "this is Python, which xl has not carried out since xm went"
        near = f"near `{token.text}'" if token.text.strip() else "at the end of the line"
        return ConfigError(f"{self._source}:{token.line}: config parsing error {near}: {message}")
