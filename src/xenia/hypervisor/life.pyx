"""What an operator sees of a domain's life, and does to it while it runs: pause, go on, an NMI."""

import time

from libc.stdint cimport uint32_t, uint64_t

from xenia.domain.clock cimport RUNSTATE_running
from xenia.domain.domain cimport Vcpu
from xenia.domain.time cimport system_time
from xenia.hypervisor.domain cimport DomainHandle
from xenia.hypervisor.pcpu cimport domain_wake

_GLANCE = 0.0005  # seconds until it is looked again whether a vcpu has left the guest


def pause(DomainHandle handle) -> None:
    """Let no vcpu enter the guest, and wait until none is there.  Its time goes on.  Again does nothing."""
    handle.domain.links.paused = 1
    domain_wake(handle.domain)
    while handle.running and any(state == RUNSTATE_running for state, _ in runstates(handle)):
        time.sleep(_GLANCE)


def unpause(DomainHandle handle) -> None:
    """Let them go on."""
    handle.domain.links.paused = 0
    domain_wake(handle.domain)


def is_paused(DomainHandle handle) -> bool:
    """Whether it is paused."""
    return bool(handle.domain.links.paused)


def send_nmi(DomainHandle handle, number: int) -> None:
    """Send a vcpu the interrupt that cannot be masked.  Precondition: there is one of that number."""
    cdef Vcpu *vcpu = handle.domain.vcpus[number]
    vcpu.traps.nmi_pending = 1
    domain_wake(handle.domain)


def nr_frames(DomainHandle handle) -> int:
    """Frames that it has now."""
    return handle.domain.memory.tot_pages


def runstates(DomainHandle handle) -> list[tuple[int, int]]:
    """Of each vcpu, what it does now (RUNSTATE_* of public/vcpu.h), and for how many ns it has run."""
    cdef Vcpu *vcpu
    cdef uint32_t id
    cdef uint64_t ran, now = system_time(handle.domain)
    found = []
    for id in range(handle.domain.nr_vcpus):
        vcpu = handle.domain.vcpus[id]
        ran = vcpu.runstate.time[<int>RUNSTATE_running]
        if vcpu.runstate.state == RUNSTATE_running and now > vcpu.runstate.since:
            ran += now - vcpu.runstate.since
        found.append((vcpu.runstate.state, ran))
    return found
