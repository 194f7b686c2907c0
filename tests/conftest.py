"""What holds in every test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launchers import build_launcher
from xenia.machine.lock import check_lock_order, waits_with_the_interpreter, watch_locks

watch_locks(True)


@pytest.fixture(autouse=True)
def no_lock_is_waited_for_with_the_interpreter() -> Iterator[None]:
    """Whatever a test does, no thread keeps all others from running Python while it waits for a lock of the core."""
    waits_with_the_interpreter(reset=True)
    yield
    assert waits_with_the_interpreter() == 0


@pytest.fixture(autouse=True)
def locks_are_taken_in_their_order() -> Iterator[None]:
    """Whatever a test does, no thread takes a lock under one that stands further down in the order of all locks."""
    yield
    check_lock_order()


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command `xenia`."""
    return build_launcher(tmp_path_factory.mktemp("bin"))
