"""A domain whose vcpu stands still: memory, page tables, events and time are real, the processor only takes notes.

For tests that make hypercalls from outside, one at a time or by the hundred thousand (fuzzer.pyx).  Its kernel maps
PAGES data pages writable at BASE and, read-only after them, its own four page tables.  Host clock and TSC are the
test's to move (`advance`).
"""

from xenia.machine.machine import MachineMemory
from xenia.testing.lock import Asker
from xenia.testing.saved import SavedStill

PAGES: int
STORE: int
CONSOLE: int
BASE: int
L4_SLOT: int
CONTINUE: int
DONE: int

class StillDomain:
    """One domain of 36 frames on `memory` bytes of machine memory of its own; `spare` more frames are its to ask for.

    Data pages STORE and CONSOLE are the rings of the store and the console: held, as by their backends.

    beside      a domain on whose machine it is to be
    saved       what `save` answered: it goes on as that one, of the same size, under the same frame numbers
    """
    @property
    def nr_heard(self) -> int: ...
    def __init__(
        self,
        domid: int = 1,
        memory: int = ...,
        spare: int = 16,
        warped: bool = False,
        beside: StillDomain | None = None,
        saved: SavedStill | None = None,
    ) -> None: ...
    def save(self) -> SavedStill:
        """All its nouns."""
        ...
    def mfn(self, page: int) -> int:
        """The machine frame of data page `page` (from PAGES on: the L1, L2, L3 and L4 table)."""
        ...
    def write(self, va: int, data: bytes) -> None:
        """Put bytes into data pages."""
        ...
    def read(self, va: int, length: int) -> bytes:
        """Bytes of data pages (within one page)."""
        ...
    def machine_read(self, mfn: int, offset: int, length: int) -> bytes:
        """Bytes of any machine frame."""
        ...
    @property
    def asker(self) -> Asker:
        """Somebody else who wants its lock."""
        ...
    @property
    def machine_asker(self) -> Asker:
        """Somebody who wants machine memory."""
        ...
    @property
    def directory_asker(self) -> Asker:
        """Somebody who wants to know who is there."""
        ...
    @property
    def machine(self) -> MachineMemory:
        """Its machine memory."""
        ...
    def frame(self, mfn: int) -> tuple[int, int, int, int]:
        """References, type references, type and owner of a frame."""
        ...
    @property
    def tot_pages(self) -> int:
        """Frames it has."""
        ...
    def audit(self) -> list[str]:
        """Every disagreement between the frame table and what holds frames."""
        ...
    def destroy(self) -> int:
        """End it as the toolstack does; how many of its frames others still hold."""
        ...
    def add_vcpu(self, begun: bool = True) -> int:
        """One vcpu more, down, on the first one's page tables, or not initialised; its number."""
        ...
    def wakes(self, vcpu: int) -> int:
        """How often a vcpu was woken, whose pcpu has nothing to run."""
        ...
    def kicks_of(self, vcpu: int) -> int:
        """How often a vcpu's processor was kicked."""
        ...
    def run_on(self, vcpu: int) -> None:
        """`call` is that vcpu's from here on."""
        ...
    def notes(self, vcpu: int) -> list[tuple[str | int, ...]]:
        """What the processor of a vcpu was told (RecordingProcessor.notes)."""
        ...
    def call(self, number: int, *arguments: int) -> int:
        """Make one hypercall: its result, CONTINUE or DONE."""
        ...
    def syscall(self, number: int, *arguments: int) -> bool:
        """The same through the registers, rip at 0x1002 past a `syscall`; whether the vcpu leaves the processor for
        it."""
        ...
    @property
    def registers(self) -> dict[str, int]:
        """rax, the six argument registers and rip."""
        ...
    def count(self, number: int) -> int:
        """How often a hypercall was made."""
        ...
    @property
    def pending(self) -> set[int]:
        """Ports whose pending bit in shared_info is set."""
        ...
    def acknowledge(self, port: int) -> None:
        """Clear what the guest clears when it handles a port."""
        ...
    def acknowledge_upcall(self) -> None:
        """Clear vcpu_info.evtchn_upcall_pending."""
        ...
    def mask(self, port: int) -> None:
        """Mask a port, as the guest does."""
        ...
    @property
    def upcall_pending(self) -> bool:
        """vcpu_info.evtchn_upcall_pending."""
        ...
    @property
    def upcall_mask(self) -> bool:
        """vcpu_info.evtchn_upcall_mask."""
        ...
    @upcall_mask.setter
    def upcall_mask(self, value: bool) -> None: ...
    @property
    def pending_sel(self) -> int:
        """vcpu_info.evtchn_pending_sel."""
        ...
    def set_pending(self, port: int) -> None:
        """Raise a port from the domain's own thread."""
        ...
    def post(self, port: int) -> None:
        """Raise a port as any other thread does."""
        ...
    def apply_mailbox(self) -> None:
        """What the domain's thread does before it enters the guest."""
        ...
    def open_channel(self, remote_domid: int, remote_port: int, notify_fd: int) -> int:
        """A channel to Xenia itself, left unbound and connected; the port or a negative errno."""
        ...
    def connect_channel(self, port: int, remote_domid: int, notify_fd: int) -> int:
        """A backend binds to a port the guest left unbound: 0 or a negative errno."""
        ...
    def listen_channel(self, port: int, notify_fd: int, back: bool) -> bool:
        """Count the events of a connected port where they are sent, and send one `back` for each."""
        ...
    def disconnect_channel(self, port: int, notify_fd: int) -> None:
        """The backend lets go of a port."""
        ...
    def ignore_channel(self, port: int) -> None:
        """Count them no more."""
        ...
    @property
    def kicks(self) -> int:
        """How often its processor was kicked."""
        ...
    @property
    def preempt(self) -> bool:
        """Somebody wants it off the processor."""
        ...
    @preempt.setter
    def preempt(self, value: bool) -> None: ...
    def set_wake_fd(self, fd: int, vcpu: int = 0) -> None:
        """The eventfd that wakes a vcpu, which sleeps."""
        ...
    def advance(self, ns: int) -> None:
        """Let the host's clock and TSC go on."""
        ...
    def drift(self, ns: int) -> None:
        """Let the TSC gain that much on the host's clock."""
        ...
    def fire(self) -> None:
        """What the run loop does when it comes round."""
        ...
    def warp_to(self, when: int) -> None:
        """Jump to a moment of system time."""
        ...
    @property
    def now(self) -> int:
        """System time in ns."""
        ...
    @property
    def tsc(self) -> int:
        """What the guest's rdtsc reads."""
        ...
    def tsc_on(self, vcpu: int) -> int:
        """What it reads on a vcpu."""
        ...
    @property
    def next_timer(self) -> int:
        """Earliest deadline; 0 none."""
        ...
    @property
    def time_info(self) -> bytes:
        """The 32 bytes of vcpu_time_info."""
        ...
    @property
    def shared_info(self) -> bytes:
        """The shared_info page."""
        ...
    def runstate(self, state: int) -> None:
        """The run loop moves the vcpu to another RUNSTATE_*."""
        ...
    def push_off(self, ns: int) -> None:
        """Somebody else has had its pcpu for so many ns, for which it could have run."""
        ...
    @property
    def blocked(self) -> bool:
        """The vcpu sleeps."""
        ...
    @blocked.setter
    def blocked(self, value: bool) -> None: ...
    @property
    def yielded(self) -> bool:
        """The vcpu gave up its turn."""
        ...
    @property
    def nmi_pending(self) -> bool:
        """An NMI waits."""
        ...
    @property
    def iopl(self) -> int:
        """I/O privilege level of its kernel's user mode."""
        ...
    @property
    def vm_assist(self) -> int:
        """Assists that are on."""
        ...
    @property
    def shutdown(self) -> int:
        """SHUTDOWN_*; -1 while it lives."""
        ...
    def set_emergency_fd(self, fd: int) -> None:
        """Where console_io writes."""
        ...
    def set_handle(self, handle: bytes) -> None:
        """Its UUID."""
        ...
