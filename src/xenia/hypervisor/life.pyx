"""What an operator sees of a domain's life, and does to it while it runs: pause, go on, an NMI, a crash."""

from xenia.domain.domain cimport Domain, Vcpu
from xenia.domain.lifecycle cimport domain_crash
from xenia.hypervisor.domain cimport DomainHandle
from xenia.hypervisor.pool cimport domain_wake
from xenia.machine.atomic cimport flag_store


def pause(DomainHandle handle) -> None:
    """Let no vcpu enter the guest, and wait until none is there.  Its time goes on.  Again does nothing."""
    handle.pause()


def unpause(DomainHandle handle) -> None:
    """Let them go on."""
    handle.unpause()


def is_paused(DomainHandle handle) -> bool:
    """Whether it is paused."""
    return handle.paused


def send_nmi(DomainHandle handle, number: int) -> None:
    """Send a vcpu the interrupt that cannot be masked.  Precondition: there is one of that number."""
    cdef Vcpu *vcpu = handle.domain.vcpus[number]
    with nogil:
        flag_store(&vcpu.traps.nmi_pending, 1)
        domain_wake(handle.domain)


def nr_frames(DomainHandle handle) -> int:
    """Frames that it has now."""
    return handle.domain.memory.tot_pages


def crash(DomainHandle handle, reason: str) -> None:
    """End it as Xen ends a domain that it crashes, for that reason.  Again, or once it has ended, does nothing."""
    cdef bytes said = reason.encode()
    cdef const char *words = said
    cdef Domain *domain = handle.domain
    with nogil:
        domain_crash(domain, words)
        domain_wake(domain)
