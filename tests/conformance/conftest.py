"""What the suites over storage stacks have in common."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from xenia.storage import kinds
from xenia.storage.luks2 import Cost


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
