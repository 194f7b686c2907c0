"""States as values: taken apart, put together, refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from xenia.errors import ConfigError
from xenia.persist import Encoded, State, decode, encode
from xenia.testing.persist import check, through_json


@dataclass(frozen=True)
class Inner(State):
    VERSION: ClassVar[int] = 3
    data: bytes = b""


@dataclass(frozen=True)
class Outer(State):
    number: int
    name: str | None
    parts: tuple[Inner, ...]
    by_key: dict[int, tuple[bool, float]]


STATE = Outer(1 << 63, "d7 \udcff", (Inner(b"\0\xff"), Inner(b"")), {7: (True, 0.5), -1: (False, 2.0)})


@pytest.mark.parametrize("state", [STATE, Outer(0, None, (), {}), Inner(bytes(5000))])
def test_a_state_is_the_same_after_json(state: State) -> None:
    assert through_json(state) == state


def test_a_version_that_is_not_known_is_refused_in_one_line() -> None:
    document, blobs = encode(STATE)
    document["fields"]["parts"][1]["version"] = 4
    with pytest.raises(ConfigError, match=r"^Inner was saved as version 4; this Xenia knows version 3$"):
        decode(Outer, Encoded(document, blobs))


def test_another_kind_of_state_is_refused() -> None:
    with pytest.raises(ConfigError, match="damaged"):
        decode(Inner, encode(STATE))
    with pytest.raises(ConfigError, match="no saved Outer: it is a Inner"):
        decode(Outer, encode(Inner(b"")))


@pytest.mark.parametrize(
    "damage",
    [
        {"bytes": 9},
        {"bytes": -1},
        {"items": [[1]]},
        {"items": 3},
        {"state": "Inner", "version": 3, "fields": {}},
        {"state": "Inner", "version": 3, "fields": {"data": "", "more": 1}},
        {"state": "Stranger", "version": 1, "fields": {}},
        {},
        "7",
        None,
        {"items": [[{"items": []}, 1]]},
        {"state": "Inner", "version": "3\n", "fields": {}},
        {"state": "Inner", "version": 3, "fields": {"a\nb": 1}},
    ],
)
def test_what_is_damaged_is_refused_in_one_line(damage: object) -> None:
    document, blobs = encode(STATE)
    document["fields"]["number"] = damage
    with pytest.raises(ConfigError) as refused:
        decode(Outer, Encoded(document, blobs))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", 1), ("parts", [1]), ("parts", {"items": []}), ("by_key", []), ("by_key", {"items": [["x", [True, 0.5]]]}),
     ("by_key", {"items": [[1, [True]]]})],
)  # fmt: skip
def test_a_field_that_holds_something_else_is_refused_in_one_line(field: str, value: object) -> None:
    document, blobs = encode(STATE)
    document["fields"][field] = value
    with pytest.raises(ConfigError, match=f"^a saved Outer is damaged: {field} cannot be$"):
        decode(Outer, Encoded(document, blobs))


def test_only_plain_data_is_state() -> None:
    with pytest.raises(TypeError):
        encode(Outer(object(), None, (), {}))  # type: ignore[arg-type]


class Counter:
    """What the check is tried on: it may forget, when it is made anew, how far it was."""

    def __init__(self, count: int = 0) -> None:
        self.count = count

    def up(self) -> int:
        self.count += 1
        return self.count


@dataclass(frozen=True)
class CounterState(State):
    count: int


def test_the_check_finds_what_was_forgotten() -> None:
    check(Counter, Counter.up, lambda one: CounterState(one.count), lambda _, s: Counter(s.count), Counter.up)
    with pytest.raises(AssertionError, match="another state"):
        check(Counter, Counter.up, lambda one: CounterState(one.count), lambda _, s: Counter(), Counter.up)
    with pytest.raises(AssertionError, match="not what it was"):
        check(Counter, Counter.up, lambda _: CounterState(0), lambda _, s: Counter(), Counter.up)
