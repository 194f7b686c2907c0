"""What holds in every test."""

from collections.abc import Iterator

import pytest

from xenia.machine.lock import waits_with_the_interpreter


@pytest.fixture(autouse=True)
def no_lock_is_waited_for_with_the_interpreter() -> Iterator[None]:
    """Whatever a test does, no thread keeps all others from running Python while it waits for a lock of the core."""
    waits_with_the_interpreter(reset=True)
    yield
    assert waits_with_the_interpreter() == 0
