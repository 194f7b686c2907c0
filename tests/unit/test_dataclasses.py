"""Dataclasses that are completed when they are first needed."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, asdict, field, fields, is_dataclass, replace
from threading import Barrier

import pytest

from xenia.dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """Two numbers."""

    x: int
    y: int = 0


@dataclass(frozen=True)
class Named(Point):
    """With names."""

    names: list[str] = field(default_factory=list)
    loud: bool = field(default=False, kw_only=True)


@dataclass
class Counter:
    """One that changes."""

    count: int = 0


def test_an_object_is_what_the_standard_library_would_have_made() -> None:
    point = Point(1)
    assert point == Point(1, 0) != Point(1, 1)
    assert hash(point) == hash(Point(1))
    assert repr(point) == "Point(x=1, y=0)"
    assert replace(point, y=2) == Point(1, 2)
    with pytest.raises(FrozenInstanceError):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        Point()  # type: ignore[call-arg]


def test_a_class_is_completed_with_those_that_it_stands_on() -> None:
    assert asdict(Named(1, 2, ["a"], loud=True)) == {"x": 1, "y": 2, "names": ["a"], "loud": True}
    assert Named(1).names is not Named(1).names


def test_fields_are_known_before_there_is_an_object() -> None:
    @dataclass(frozen=True)
    class Wide(Point):
        z: int = 5

    assert is_dataclass(Wide)
    assert [it.name for it in fields(Wide)] == ["x", "y", "z"]
    assert Wide.z == 5


def test_a_plain_class_may_stand_on_one() -> None:
    class Plain(Counter):
        def __init__(self) -> None:
            super().__init__(7)

    assert Plain().count == 7


def test_an_object_is_matched_by_position() -> None:
    match Point(3, 4):
        case Counter(count):
            pytest.fail(str(count))
        case Point(x, y):
            assert (x, y) == (3, 4)


def test_an_object_is_copied_and_pickled() -> None:
    assert copy.deepcopy(Named(1, names=["a"])) == Named(1, names=["a"])
    assert pickle.loads(pickle.dumps(Named(1))) == Named(1)


def test_many_threads_may_make_the_first_object() -> None:
    for _ in range(20):

        @dataclass(frozen=True)
        class Fresh(Point):
            z: int = 0

        barrier = Barrier(8)

        def make(number: int, cls: type[Fresh] = Fresh, barrier: Barrier = barrier) -> Fresh:
            barrier.wait()
            return cls(number, z=number)

        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(make, range(8))) == [Fresh(n, 0, n) for n in range(8)]


def test_slots_are_refused() -> None:
    with pytest.raises(ValueError, match="slots"):
        dataclass(frozen=True, slots=True)(type("Narrow", (), {}))
