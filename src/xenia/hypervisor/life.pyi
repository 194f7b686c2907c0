"""What an operator sees of a domain's life, and does to it while it runs: pause, go on, an NMI, a crash."""

from xenia.hypervisor.domain import DomainHandle

def pause(handle: DomainHandle) -> None:
    """Let no vcpu enter the guest, and wait until none is there.  Its time goes on.  Again does nothing."""
    ...

def unpause(handle: DomainHandle) -> None:
    """Let them go on."""
    ...

def is_paused(handle: DomainHandle) -> bool:
    """Whether it is paused."""
    ...

def send_nmi(handle: DomainHandle, number: int) -> None:
    """Send a vcpu the interrupt that cannot be masked.  Precondition: there is one of that number."""
    ...

def nr_frames(handle: DomainHandle) -> int:
    """Frames that it has now."""
    ...

def crash(handle: DomainHandle, reason: str) -> None:
    """End it as Xen ends a domain that it crashes, for that reason.  Again, or once it has ended, does nothing."""
    ...
