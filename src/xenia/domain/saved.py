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
    info        the 64 bytes of its vcpu_info; info_frame, info_offset: where the guest put it, None: in shared_info
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
    info_frame: int | None
    info_offset: int
    blocked: bool
    timer_expires: int
    periodic_period: int
    periodic_expires: int
    poll_expires: int
    time_info_va: int
    runstate: int
    runstate_entry: int
    runstate_time: tuple[int, ...]
    runstate_va: int
    is_up: bool


@dataclass(frozen=True)
class SavedChannel(State):
    """An event channel, and what is at its other end: of itself a domain knows the number only.

    state       ECS_*; who is at the other end of a channel to Xenia, or to another domain, has to bind to it anew
    to_itself   the other end is the domain's own port `remote_port`
    queue       FIFO: priority, and the queue that it was put on last (priority, vcpu)
    posted      an event is on its way to it
    """

    VERSION: ClassVar[int] = 1

    port: int
    state: int
    virq: int
    vcpu: int
    remote_domid: int
    remote_port: int
    to_itself: bool
    queue: tuple[int, int, int]
    unplaced: bool
    posted: bool


@dataclass(frozen=True)
class SavedVcpuEvents(State):
    """What a vcpu's events are bound to.

    control     FIFO: frame and offset of its control block
    tails       FIFO: the last port of each queue
    polls       the ports of SCHEDOP_poll
    """

    VERSION: ClassVar[int] = 1

    virq_ports: tuple[int, ...]
    control: tuple[int, int] | None
    tails: tuple[int, ...]
    polls: tuple[int, ...]


@dataclass(frozen=True)
class SavedEvents(State):
    """A domain's event channels, by either ABI.

    nr_ports        those that exist, in use or not
    pending, mask   the bits of shared_info
    array           FIFO: the frames of event words
    pirq_eoi        frame of the PIRQ EOI map, 0 none
    """

    VERSION: ClassVar[int] = 1

    nr_ports: int
    channels: tuple[SavedChannel, ...]
    vcpus: tuple[SavedVcpuEvents, ...]
    fifo: bool
    array: tuple[int, ...]
    pending: bytes
    mask: bytes
    pirq_eoi: int


@dataclass(frozen=True)
class SavedGrants(State):
    """A domain's grant table, of which nobody holds anything.

    entries, status     the contents of its frames; status: version 2
    """

    VERSION: ClassVar[int] = 1

    version: int
    entries: bytes
    status: bytes
