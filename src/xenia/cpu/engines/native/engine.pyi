"""The `native` engine: user code on the host's own processor, in stubs; the guest's kernel in the emulated engine.

Theory of operation.  It is an emulated processor that has something beside it.  All registers are that processor's, and
all of the boundary is answered by it.  Whenever it is about to run user code, which is when an exit was answered so or
when it is entered, it asks here first; and here the code may run in a stub, until it leaves user mode.  A system call
and a page fault are exits as they are.  Whatever else guest code comes to, an exception, an instruction that tells of
the processor or of the time, a segment, is not looked into: the emulated processor goes on at that very instruction,
comes to the same, and knows what it means.  So what is native differs in nothing but speed.

Only what is the same on both runs natively: 64-bit code on the ABI's flat segments or Linux's, no single steps, no
breakpoints, an FPU that is not waited for, an address space that has nothing where stubs have themselves.

An address space moves to a stub when its bursts of user code are long enough (policy.pxd), and back.  It has one stub,
which nobody has after it.  With several processors each has its own stubs and its own mirror, as each has a TLB.

A kick, or a request of another processor, stops the guest code wherever it is: then the emulated processor has the
vcpu, and obeys.  A flush waits until the guest code is known not to run, and until what was taken away is mapped in no
stub any more (`settle`); so does the end of each run.  At the end of its domain all stubs end.
"""

from xenia.cpu.capabilities import Capabilities
from xenia.cpu.engine import Engine
from xenia.machine.machine import MachineMemory

CAPABILITIES: Capabilities
BESIDE: str

class NativeEngine(Engine):
    """The engine of one vcpu.

    eager    user code is native from its first instruction on, where it can be
    looks    what is executable is looked at for CPUID, whatever the host's processor can do
    """
    def __init__(self, memory: MachineMemory, eager: bool = False, looks: bool = False) -> None: ...
    def stale_translations(self) -> list[tuple[int, int, str, bool]]:
        """Those of the emulated processor, and one of the mirror's if there are any."""
        ...
    def has_stub(self) -> bool:
        """Whether the host makes stubs: one that was asked for is waited for."""
        ...
    @property
    def statistics(self) -> dict[str, int]:
        """And what happened natively."""
        ...

def new(memory: MachineMemory) -> Engine:
    """See registry.EngineModule; these three."""
    ...

def reserve(nr: int) -> int:
    """The maker of stubs, and memory for translated code."""
    ...

def self_test() -> str:
    """Have a stub made.  ConfigError where the host does not let it be."""
    ...
