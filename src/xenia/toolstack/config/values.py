"""What a program gives as an argument, value by value: each kind is looked at here, for all who take one.

As anywhere in Python a value of a wrong type is a TypeError.  One that cannot be had is a ConfigError.  Both name the
argument, and say in one line what it is to be.
"""

from __future__ import annotations

import codecs
import math
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import wraps
from inspect import Parameter, iscoroutinefunction, signature
from operator import index
from reprlib import Repr
from types import UnionType
from typing import Any, Final, ParamSpec, TypeVar

from xenia.errors import ConfigError
from xenia.toolstack.config.machine import MIB, check_name, format_size

P = ParamSpec("P")
R = TypeVar("R")

Kind = Callable[[str, Any], Any]
"""Answers a value as it is to be used, of its argument's name and what was given.  TypeError, ConfigError."""

_KINDS: Final = "kinds"
_MOST_BYTES: Final = 1 << 52  # what an x86 can address
_SHORT: Final = Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHOWN_BITS: Final = 256
_MOST_CHARACTERS: Final = 255
_LONGEST: Final = (1 << 31) // 1000  # seconds: 24 days, as poll(2) counts


def given(**kinds: Kind) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Has a function look at its arguments of these names before it does anything.  A default is taken as it is."""

    def decorate(function: Any) -> Any:
        parameters = signature(function).parameters.values()
        in_order = [one.name for one in parameters if one.kind is Parameter.POSITIONAL_OR_KEYWORD]
        rest = next((one.name for one in parameters if one.kind is Parameter.VAR_POSITIONAL), "")
        defaults = {one.name: one.default for one in parameters}

        def look(name: str, value: Any) -> Any:
            return kinds[name](name, value) if name in kinds and value is not defaults.get(name, kinds) else value

        def all_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
            names = in_order + [rest] * (len(args) - len(in_order))
            looked_at = [look(name, value) for name, value in zip(names, args, strict=False)]
            return looked_at, {name: look(name, value) for name, value in kwargs.items()}

        if iscoroutinefunction(function):

            @wraps(function)
            async def looking(*args: Any, **kwargs: Any) -> Any:
                in_place, by_name = all_of(args, kwargs)
                return await function(*in_place, **by_name)
        else:

            @wraps(function)
            def looking(*args: Any, **kwargs: Any) -> Any:
                in_place, by_name = all_of(args, kwargs)
                return function(*in_place, **by_name)

        looking.__dict__[_KINDS] = kinds
        return looking

    return decorate


def kinds_of(function: object) -> dict[str, Kind]:
    """What it looks at, by the arguments' names."""
    return dict(getattr(function, _KINDS, {}))


class Given:
    """What takes arguments: a method that stands in the place of another one looks at them as that one does."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, method in list(vars(cls).items()):
            kinds = kinds_of(getattr(super(cls, cls), name, None))
            if kinds and not kinds_of(method):
                setattr(cls, name, given(**kinds)(method))


def check_fields(options: Any, **kinds: Kind) -> None:
    """The same for the fields of a dataclass, as it is made."""
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name in kinds and value is not field.default:
            object.__setattr__(options, field.name, kinds[field.name](field.name, value))


def shown(value: object) -> str:
    """A value as an error tells it: in one line, however large it is."""
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS:
        return f"a number of {value.bit_length()} bits"
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return _SHORT.repr(value)
    return f"a {type(value).__name__}"


def _wrong(name: str, what: str, value: object) -> TypeError:
    return TypeError(f"{name} is {what}, not {shown(value)}")


# --- numbers


def whole(least: int | None = None, most: int | None = None, what: str = "a whole number") -> Kind:
    """A whole number, of whatever type has such; within bounds."""
    bounds = f" from {least} on" if most is None else f" from {least} to {most}"

    def look(name: str, value: Any) -> int:
        number = _whole(name, value, what)
        if (least is not None and number < least) or (most is not None and number > most):
            raise ConfigError(f"{name} {shown(number)}: it is {what}{bounds}")
        return number

    return look


def _whole(name: str, value: Any, what: str) -> int:
    try:
        if not isinstance(value, bool):
            return index(value)
    except TypeError:
        pass
    raise _wrong(name, what, value)


def size(least: int = 0) -> Kind:
    """So many bytes of memory."""

    def look(name: str, value: Any) -> int:
        number = _whole(name, value, "a number of bytes")
        if not least <= number <= _MOST_BYTES:
            raise ConfigError(
                f"{name} {shown(number)}: it is a number of bytes, {format_size(least)} to {format_size(_MOST_BYTES)}"
            )
        return number

    return look


def seconds(name: str, value: Any) -> float | None:
    """How long something may take; None: as long as it likes.  What is over already is no mistake."""
    if value is None:
        return None
    try:
        number = float(value) if not isinstance(value, str | bytes | bytearray | bool) else None
    except (TypeError, ValueError):
        number = None
    except OverflowError:
        number = math.inf
    if number is None:
        raise _wrong(name, "a number of seconds, or None", value)
    if not number <= _LONGEST:  # which not a number is not, either
        raise ConfigError(f"{name} {shown(value)}: it is a number of seconds up to {_LONGEST}, or None for no end")
    return value if isinstance(value, int | float) else number


def patience(name: str, value: Any) -> float:
    """The same, of what is not waited for without end."""
    if (number := seconds(name, value)) is None:
        raise _wrong(name, "a number of seconds", value)
    return number


def memory_or_words(name: str, value: Any) -> int | str:
    """So many bytes of memory; or text that says how many."""
    return text(name, value) if isinstance(value, str) else MEMORY(name, value)


ANY_NUMBER: Final = whole()
NUMBER: Final = whole(-(1 << 63), (1 << 64) - 1)
MEMORY: Final = size()
MACHINE_MEMORY: Final = size(MIB)


# --- text


def text(name: str, value: Any) -> str:
    """Words without what ends them in C."""
    if not isinstance(value, str):
        raise _wrong(name, "a str", value)
    if "\0" in value:
        raise ConfigError(f"{name} {shown(value)}: there is a NUL in it")
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ConfigError(f"{name} {shown(value)}: there is half a character in it, which no UTF-8 has") from None
    return value


def short(name: str, value: Any) -> str:
    """A name of something, or a word for it."""
    if len(text(name, value)) > _MOST_CHARACTERS:
        raise ConfigError(f"{name} {shown(value)}: it has {_MOST_CHARACTERS} characters at the most")
    return str(value)


def line(name: str, value: Any) -> str:
    """Words in one line."""
    if "\n" in text(name, value):
        raise ConfigError(f"{name} {shown(value)}: it is one line")
    return str(value)


def guest_name(name: str, value: Any) -> str:
    """What a guest is called."""
    check_name(text(name, value))
    return str(value)


def one_of(choices: Iterable[str]) -> Kind:
    """A word that is among these."""
    known = tuple(choices)

    def look(name: str, value: Any) -> str:
        if text(name, value) not in known:
            raise ConfigError(f"{name} {shown(value)}: there are {', '.join(map(repr, known[:-1]))} and {known[-1]!r}")
        return str(value)

    return look


def encoding(name: str, value: Any) -> str | None:
    """How text becomes bytes."""
    if value is None:
        return None
    try:
        if not codecs.lookup(text(name, value))._is_text_encoding:
            raise LookupError
    except (LookupError, ValueError):  # a name that is none, or no name at all
        raise ConfigError(f"{name} {shown(value)}: Python has no text encoding of that name") from None
    return str(value)


def error_handler(name: str, value: Any) -> str | None:
    """What becomes of text that an encoding does not have."""
    if value is None:
        return None
    try:
        codecs.lookup_error(text(name, value))
    except LookupError:
        raise ConfigError(f"{name} {shown(value)}: Python has no error handler of that name") from None
    return str(value)


def pattern(name: str, value: Any) -> re.Pattern[Any]:
    """A regular expression, of text or of bytes."""
    if isinstance(value, re.Pattern):
        return value
    if not isinstance(value, str | bytes):
        raise _wrong(name, "a regular expression, as str, bytes or compiled", value)
    try:
        return re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        raise ConfigError(f"{name} {shown(value)}: no regular expression: {error}") from None


def awaited(name: str, value: Any) -> Any:
    """What a guest is to say, or a function that is to answer what is true."""
    return value if callable(value) else pattern(name, value)


# --- bytes and files


def octets(name: str, value: Any) -> bytes:
    """Bytes, whatever holds them."""
    try:
        return value if isinstance(value, bytes) else memoryview(value).tobytes()
    except TypeError:
        raise _wrong(name, "bytes", value) from None


def words_or_octets(name: str, value: Any) -> str | bytes | None:
    """What a command reads: bytes, or text that becomes such."""
    return value if isinstance(value, str) or value is None else octets(name, value)


def file(name: str, value: Any, what: str = "a file's name, as str or os.PathLike") -> str:
    """The name of a file or folder of the host's."""
    try:
        path = os.fspath(value)
    except TypeError:
        path = None
    if not isinstance(path, str):
        raise _wrong(name, what, value)
    if not text(name, path):
        raise ConfigError(f"{name} {path!r} names no file")
    return path


def contents(name: str, value: Any) -> str | bytes:
    """A file, or what is in it."""
    if isinstance(value, bytes | bytearray | memoryview):
        return octets(name, value)
    return file(name, value, "a file's name, as str or os.PathLike, or its bytes")


def console(name: str, value: Any) -> Any:
    """Where a guest's console goes: a file that is open, or a function."""
    return value if callable(value) else _descriptor(name, value, "a file descriptor, or a function that takes bytes")


def _descriptor(name: str, value: Any, what: str) -> int:
    number = _whole(name, value, what)
    try:
        os.fstat(number)
    except (OSError, OverflowError):
        raise ConfigError(f"{name} {shown(number)}: no file is open there") from None
    return number


def stream(name: str, value: Any) -> Any:
    """What a command reads or writes, as subprocess takes it."""
    special = isinstance(value, int) and value in (subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL)
    if value is None or special or callable(getattr(value, "fileno", None)):
        return value
    return _descriptor(name, value, "a file that is open, or one of subprocess's words")


# --- what is made of those


def word(name: str, value: Any) -> str:
    """Text, and what is written as such."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return text(name, str(NUMBER(name, value)) if is_number else file(name, value))


def several(kind: Kind, what: str) -> Kind:
    """Any number of these, in order; one text alone is one of them."""

    def look(name: str, value: Any) -> tuple[Any, ...]:
        if isinstance(value, str | int | os.PathLike):
            return (kind(name, value),)
        try:
            all_of_them = iter(value) if not isinstance(value, bytes | bytearray | Mapping) else None
        except TypeError:
            all_of_them = None
        if all_of_them is None:
            raise _wrong(name, what, value)
        return tuple(kind(name, one) for one in all_of_them)

    return look


WORDS: Final = several(word, "a str, or several")
FILES: Final = several(file, "a file's name, or several")
NUMBERS: Final = several(NUMBER, "whole numbers")


def command(name: str, value: Any) -> Any:
    """A command and its arguments, or a line for a shell."""
    if isinstance(value, str):
        return text(name, value)
    if isinstance(value, bytes | bytearray | Mapping) or not isinstance(value, Iterable):
        raise _wrong(name, "a list of a command and its arguments, or a str for a shell", value)
    words = value if isinstance(value, Sequence) else list(value)
    for one in words:
        try:
            said = os.fspath(one)
        except TypeError:
            raise _wrong(f"a word of {name}", "a str, bytes or os.PathLike", one) from None
        if isinstance(said, str):
            text(name, said)
        elif b"\0" in said:
            raise ConfigError(f"{name} {shown(said)}: there is a NUL in it")
    return words


def variables(name: str, value: Any) -> Mapping[str, str]:
    """Variables of an environment."""
    if not isinstance(value, Mapping):
        raise _wrong(name, "names of variables and their values, as a dict has them", value)
    for variable, content in value.items():
        if not text(f"a variable of {name}", variable) or "=" in variable:
            raise ConfigError(f"{name}: {variable!r} names no variable")
        text(f"{name}[{shown(variable)}]", content)
    return value


def numbers_by_name(name: str, value: Any) -> dict[str, int]:
    """Registers, say."""
    if not isinstance(value, Mapping):
        raise _wrong(name, "names and their numbers, as a dict has them", value)
    return {text(f"a name in {name}", key): ANY_NUMBER(f"{name}[{shown(key)}]", one) for key, one in value.items()}


def truth(_: str, value: Any) -> bool:
    """Yes or no, as Python takes any value for one."""
    return bool(value)


def function(name: str, value: Any) -> Any:
    """What can be called."""
    if not callable(value):
        raise _wrong(name, "a function", value)
    return value


def instance(kind: type | UnionType, what: str) -> Kind:
    """An object of that class."""

    def look(name: str, value: Any) -> Any:
        if not isinstance(value, kind):
            raise _wrong(name, what, value)
        return value

    return look


def either(kind: type | UnionType, other: Kind) -> Kind:
    """An object of that class, taken as it is; or else something of another kind."""
    return lambda name, value: value if isinstance(value, kind) else other(name, value)
