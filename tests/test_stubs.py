"""What Python is told of compiled modules is written from their sources (scripts/stubs.py), and current."""

from pathlib import Path

import pytest

from scripts import stubs

SOURCE = '''
"""Doors."""
from collections.abc import Sequence

from xenia.machine.machine cimport MachineMemory

WIDTH, NAME = 4, "door"
cdef int height = 3


cdef class Door(Wall):
    """Opens."""

    cdef readonly MachineMemory memory
    cdef readonly list mfns  # type: list[int]
    cdef public bint open
    cdef int hidden

    def __cinit__(self, uint64_t size, *, bint wide=True, Door beside=None):
        pass

    cdef void unseen(self):
        pass

    def _private(self):
        pass

    @property
    def users(self) -> Sequence[str]:
        """Who goes through."""
        return []


def knock(const unsigned char[::1] data, times: int = 1, *names: str) -> int | None:
    return None
'''
STUB = '''\
"""Doors."""

from collections.abc import Sequence

from typing_extensions import Buffer

from xenia.machine.machine import MachineMemory

WIDTH: int
NAME: str

class Door(Wall):
    """Opens."""
    @property
    def memory(self) -> MachineMemory: ...
    @property
    def mfns(self) -> list[int]: ...
    open: bool
    def __init__(self, size: int, *, wide: bool = True, beside: Door | None = None) -> None: ...
    @property
    def users(self) -> Sequence[str]:
        """Who goes through."""
        ...

def knock(data: Buffer, times: int = 1, *names: str) -> int | None: ...
'''


def test_every_stub_is_what_its_source_says() -> None:
    assert [stub.name for stub, _ in stubs.outdated()] == [], "run python scripts/stubs.py"


def test_a_stub_holds_all_that_python_sees_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "door.pyx").write_text(SOURCE.lstrip())
    assert stubs.Stub(tmp_path / "door.pyx").write() == STUB


def test_what_is_not_annotated_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "door.pyx").write_text("def knock(data, int times):\n    pass\n")
    with pytest.raises(stubs.Unannotated, match=r"door.pyx:1: data is not annotated"):
        stubs.Stub(tmp_path / "door.pyx").write()
