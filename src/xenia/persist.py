"""What outlives a thing: its state, as a value.

Everything that a saved domain consists of (its nouns, its store, its console, its disks) has `save() -> State`, and is
made again by `restore`, which is given what the thing is made of (frames, descriptors, who to tell) and that State.  A
State is plain data: a frozen dataclass of numbers, text, bytes, tuples, dicts, and States of its parts.  It holds
nothing of the process: no descriptor, no address, no thread.

`encode` takes one apart into a document that JSON can hold and the bytes that it cannot; `decode` puts it together
again.  How both lie in a file is not said here, and is no promise yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from types import UnionType
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar, get_args, get_origin, get_type_hints

from xenia.errors import ConfigError


@dataclass(frozen=True)
class State:
    """The base of every state.  A class whose fields, or what they mean, change gets another VERSION."""

    VERSION: ClassVar[int] = 1


S = TypeVar("S", bound=State)
Saved = TypeVar("Saved", bound=State, covariant=True)


class Persistent(Protocol[Saved]):
    """What can be saved.  Its counterpart is a function or class method `restore(..., state)` beside it."""

    def save(self) -> Saved:
        """What one made later needs in order to go on as this one would.  Precondition: nothing changes it now."""


class Encoded(NamedTuple):
    """A state, taken apart.

    document    what JSON can hold; it names bytes by their place in ...
    blobs       ... this list
    """

    document: Any
    blobs: tuple[bytes, ...]


def encode(state: State) -> Encoded:
    """Take a state apart."""
    blobs: list[bytes] = []
    return Encoded(_encode(state, blobs), tuple(blobs))


def decode(kind: type[S], encoded: Encoded) -> S:
    """Put a state of that kind together.

    ConfigError, in one line, where it is of another kind, of a version that is not known here, or damaged.
    """
    state = _decode(encoded.document, encoded.blobs, {known.__name__: known for known in _parts(kind, set())})
    if not isinstance(state, kind):
        raise ConfigError(f"no saved {kind.__name__}: it is a {type(state).__name__}")
    check(state)
    return state


def _encode(value: object, blobs: list[bytes]) -> Any:
    if isinstance(value, State):
        values = {field.name: _encode(getattr(value, field.name), blobs) for field in fields(value)}
        return {"state": type(value).__name__, "version": value.VERSION, "fields": values}
    if isinstance(value, tuple):
        return [_encode(item, blobs) for item in value]
    if isinstance(value, dict):
        return {"items": [[_encode(key, blobs), _encode(item, blobs)] for key, item in value.items()]}
    if isinstance(value, bytes):
        blobs.append(value)
        return {"bytes": len(blobs) - 1}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} is no plain data")


def _decode(document: Any, blobs: tuple[bytes, ...], kinds: dict[str, type[State]]) -> Any:
    match document:
        case list():
            return tuple(_decode(item, blobs, kinds) for item in document)
        case {"items": list(items)}:
            pairs = [_decode(item, blobs, kinds) for item in items]
            if all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
                with suppress(TypeError):  # a key that is none
                    return dict(pairs)
        case {"bytes": int(place)} if 0 <= place < len(blobs):
            return blobs[place]
        case {"state": str(name), "version": version, "fields": dict(values)} if name in kinds:
            return _decode_state(kinds[name], version, {key: _decode(v, blobs, kinds) for key, v in values.items()})
        case None | bool() | int() | float() | str():
            return document
    raise ConfigError(f"a saved state is damaged: {str(document)[:60]}")


def _decode_state(kind: type[State], version: object, values: dict[str, Any]) -> State:
    if version != kind.VERSION:
        raise ConfigError(f"{kind.__name__} was saved as version {version!r}; this Xenia knows version {kind.VERSION}")
    if values.keys() != {field.name for field in fields(kind)}:
        names = ", ".join(map(ascii, values))
        raise ConfigError(f"a saved {kind.__name__} is damaged: it has the fields {names}"[:200])
    return kind(**values)


def check(state: State) -> None:
    """Whether each field holds what its annotation says, and those of its parts.  ConfigError where one does not."""
    if (name := misfit(state)) is not None:
        raise ConfigError(f"a saved {type(state).__name__} is damaged: {name} cannot be")
    for each in fields(state):
        for part in _states(getattr(state, each.name)):
            check(part)


def misfit(value: object) -> str | None:
    """The first field of a dataclass that does not hold what its annotation says."""
    for name, hint in get_type_hints(type(value)).items():
        if get_origin(hint) is not ClassVar and not _is(getattr(value, name), hint):
            return name
    return None


def _is(value: object, hint: Any) -> bool:
    """Whether a value is what a field's annotation says.  As in C, a truth value may be a number."""
    kind, args = get_origin(hint) or hint, get_args(hint)
    if kind is UnionType:
        return any(_is(value, arg) for arg in args)
    if kind is tuple and isinstance(value, tuple) and args:
        kinds = args[:1] * len(value) if args[-1] is ... else args
        return len(value) == len(kinds) and all(map(_is, value, kinds))
    if kind is dict and isinstance(value, dict) and args:
        return all(_is(key, args[0]) and _is(item, args[1]) for key, item in value.items())
    return kind is Any or isinstance(value, {bool: int, float: (int, float)}.get(kind, kind))


def _states(value: object) -> Iterator[State]:
    match value:
        case State():
            yield value
        case tuple():
            yield from (part for item in value for part in _states(item))
        case dict():
            yield from (part for item in value.values() for part in _states(item))


def _parts(kind: type[State], seen: set[type[State]]) -> Iterator[type[State]]:
    """A kind of state, and those that its fields may hold."""
    if kind in seen:
        return
    seen.add(kind)
    yield kind
    hints = list(get_type_hints(kind).values())
    while hints:
        hint = hints.pop()
        hints.extend(get_args(hint))
        if isinstance(hint, type) and issubclass(hint, State):
            yield from _parts(hint, seen)
