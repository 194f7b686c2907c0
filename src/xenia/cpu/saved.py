"""A vcpu's registers as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xenia.persist import State


@dataclass(frozen=True)
class SavedContext(State):
    """What an engine has of a vcpu, but for its page tables and descriptor tables: those are the domain's.

    segments    selector, base, limit, attributes of es, cs, ss, ds, fs, gs, as they were loaded
    fpu         512 bytes, as fxsave64 stores them
    dr          in use: dr0 to dr3, dr6, dr7
    """

    VERSION: ClassVar[int] = 1

    gpr: tuple[int, ...]
    rip: int
    rflags: int
    cs: int
    ss: int
    kernel: bool
    after_ss: bool
    held_back: int
    segments: tuple[tuple[int, int, int, int], ...]
    fpu: bytes
    dr: tuple[int, ...]
    cr2: int
    cr4: int
    ts: bool
