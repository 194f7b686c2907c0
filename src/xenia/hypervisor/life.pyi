"""What an operator sees of a domain's life, and does to it while it runs: pause, go on, an NMI."""

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
