"""What the suites over storage stacks, and those over engines, have in common."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from xenia.cpu.engines.native import host
from xenia.cpu.registry import engine_kind, engines
from xenia.storage import kinds
from xenia.storage.luks2 import Cost
from xenia.testing import bare, interpreter


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """A directory in memory where the host has such: thousands of flushes are slow on a disk."""
    shared = Path("/dev/shm")
    with TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as name:
        yield Path(name)


@pytest.fixture
def cheap_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes trying passphrases slow for others would make these tests slow."""
    monkeypatch.setattr(kinds, "Cost", lambda *_: Cost(1000, 0, digest=1000))


assert interpreter  # registers itself

CR4_FSGSBASE = 1 << 16


NAMES = [kind.name for kind in engines() if kind.name != "native"]  # which is "eager" with a policy


@pytest.fixture(params=NAMES)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every engine that is known in turn: what runs the programs of this test."""
    name: str = request.param
    monkeypatch.setattr(bare, "ENGINE", name)
    if name in {"eager", "looking"}:  # it runs natively no code that may not use these instructions
        monkeypatch.setattr(bare, "CR4", CR4_FSGSBASE)
    return name


@pytest.fixture(params=NAMES)
def destination(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every engine in turn once more: what programs of this test are moved to."""
    name: str = request.param
    monkeypatch.setattr(bare, "DESTINATION", name)
    return name


def has_no_host(item: pytest.Item) -> bool:
    """Does it need the native engine on a host that does not give it?"""
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    names = {value for value in parameters.values() if isinstance(value, str)}
    if "looking" in names and not host.hides_cpuid():
        return True  # "eager" is the same there
    return not {"native", "eager", "looking"}.isdisjoint(names) and host.lack() is not None


def lacks(item: pytest.Item) -> bool:
    """Does the case need what one of its engines cannot do?  `@pytest.mark.needs` names capabilities."""
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    names = {str(parameters[role]) for role in ("engine", "destination") if role in parameters}
    needs = [need for marker in item.iter_markers("needs") for need in marker.args]
    return not all(getattr(engine_kind(name).capabilities, need) for name in names for need in needs)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what an engine cannot do."""
    left_out = {item: None for item in items if lacks(item) or has_no_host(item)}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
