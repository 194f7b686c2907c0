"""The nouns of a domain as values.

Where a state names a frame, the number is the machine's; who moves a domain to other frames (hypervisor/persist) puts
page numbers there on the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xenia.cpu.saved import SavedContext
from xenia.persist import State


@dataclass(frozen=True)
class SavedDomain(State):
    """Who a domain is, whatever becomes of its memory.

    handle      its UUID
    e820        address, size, type
    """

    VERSION: ClassVar[int] = 1

    handle: bytes
    is_linux: bool
    vm_assist: int
    e820: tuple[tuple[int, int, int], ...]
    watchdog_expires: tuple[int, ...]
    has_listened: bool
    console_used: bool


@dataclass(frozen=True)
class SavedClock(State):
    """A domain's time: what it had come to, in ns since the domain was created and in ticks."""

    VERSION: ClassVar[int] = 1

    warped: bool
    system_time: int
    tsc: int


@dataclass(frozen=True)
class SavedVcpu(State):
    """A vcpu, but for what its events are bound to (SavedEvents).

    traps       vector, flags, cs, address
    callbacks   event, failsafe, syscall, syscall32, sysenter: address, whether it masks events
    info        the 64 bytes of its vcpu_info
    runstate    state, since when, time in each
    """

    VERSION: ClassVar[int] = 1

    context: SavedContext
    root_kernel: int
    root_user: int
    gdt_frames: tuple[int, ...]
    gdt_entries: int
    ldt_base: int
    ldt_entries: int
    traps: tuple[tuple[int, int, int, int], ...]
    callbacks: tuple[tuple[int, int], ...]
    nmi_pending: bool
    nmi_masked: bool
    kernel_sp: int
    iopl: int
    iobmp_va: int
    iobmp_limit: int
    gs_base_kernel: int
    gs_base_user: int
    cr0: int
    cr2: int
    cr4: int
    dr: tuple[int, ...]
    tsc_aux: int
    mcg_status: int
    mc_ctl2: tuple[int, ...]
    pci_cf8: int
    cmos_index: int
    info: bytes
    timer_expires: int
    periodic_period: int
    periodic_expires: int
    runstate: int
    runstate_entry: int
    runstate_time: tuple[int, ...]
    is_up: bool
