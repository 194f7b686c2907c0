"""Guests for pytest, which finds this by itself where Xenia is installed: fixtures, a marker, and what a guest said
with a test that failed.  docs/pytest.md is for who uses it.

Nothing of Xenia is loaded before a fixture is used.  Guests are in the process that runs the tests: each worker of
pytest-xdist has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from _pytest.nodes import Node

    from xenia import Domain

_MARKER = (
    "xenia(kernel=..., memory='512M', disks=[...], share='.', **options): what the guest of this test is to be, for "
    "the fixtures guest and shared_guest; on a module, of all its tests"
)
_SCOPES = ("module", "package", "session")
_SHOWN = 200  # lines of a log
_GUESTS = pytest.StashKey[list["Domain"]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("xenia_shared_scope", "how long a shared_guest lives: module, package or session", default="module")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture(scope="session")
def xenia_options() -> Mapping[str, Any]:
    """What guests are to be where no marker says anything else: for you to override, in a conftest.py."""
    return {}


@pytest.fixture
def guest(request: pytest.FixtureRequest, xenia_options: Mapping[str, Any]) -> Iterator[Domain]:
    """A guest that runs, of this test alone: a xenia.Domain."""
    with _boot(request.node, xenia_options) as domain:
        _show(request.node, domain)
        yield domain


@pytest.fixture
def shared_guest(request: pytest.FixtureRequest, _xenia_shared: _Shared) -> Domain:
    """A guest that runs, of all tests of the module that ask for it: whatever one of them leaves in it, files,
    processes, what it has said, the next one finds.  One that has ended is replaced."""
    domain = _xenia_shared.guest()
    _show(request.node, domain)
    return domain


def _scope(fixture_name: str, config: pytest.Config) -> Any:
    scope = config.getini("xenia_shared_scope")
    if scope not in _SCOPES:
        raise pytest.UsageError(f"xenia_shared_scope = {scope}: use {', '.join(_SCOPES[:-1])} or {_SCOPES[-1]}")
    return scope


@pytest.fixture(scope=_scope)
def _xenia_shared(request: pytest.FixtureRequest, xenia_options: Mapping[str, Any]) -> Iterator[_Shared]:
    shared = _Shared(lambda: _boot(request.node, xenia_options))
    yield shared
    shared.close()


class _Shared:
    """A guest that is booted when it is first asked for, and again where it has ended."""

    def __init__(self, boot: Callable[[], Domain]) -> None:
        self._boot = boot
        self._domain: Domain | None = None

    def guest(self) -> Domain:
        """The guest, which runs."""
        if self._domain is not None and not self._domain.runs:
            self.close()
        if self._domain is None:
            self._domain = self._boot()
        return self._domain

    def close(self) -> None:
        """Nobody asks for it any more."""
        domain, self._domain = self._domain, None
        if domain is not None:
            domain.destroy()


def _boot(node: Node, defaults: Mapping[str, Any]) -> Domain:
    """A guest as the markers of a test, a module, ... say, the nearest first."""
    from xenia import Machine

    options = dict(defaults)
    for marker in reversed(list(node.iter_markers("xenia"))):
        if marker.args:
            raise pytest.UsageError(f"@pytest.mark.xenia takes options by name, not {marker.args[0]!r}")
        options |= marker.kwargs
    return Machine.boot(**options)


def _show(node: Node, domain: Domain) -> None:
    node.stash.setdefault(_GUESTS, []).append(domain)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Have a test that failed tell what its guests and their hypervisor said."""
    report = yield
    if report.failed:
        for domain in item.stash.get(_GUESTS, []):
            report.sections.append((f"console of guest '{domain.name}'", _last(domain.console.text.split("\n"))))
            report.sections.append((f"dmesg of guest '{domain.name}'", _last(domain.dmesg)))
    if call.when == "teardown":
        item.stash[_GUESTS] = []  # tests are kept to the session's end, guests are not
    return report


def _last(lines: list[str]) -> str:
    """The last of them, with nothing in them that a terminal obeys."""
    text = "\n".join(line.rstrip("\r") for line in lines[-_SHOWN:])
    return "".join(one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode() for one in text)
