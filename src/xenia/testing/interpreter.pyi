"""A second engine, for tests alone: it interprets a few dozen instructions, one after the other, and caches nothing.

It stands for every engine but the one that guests run on.  What a conformance case needs beyond it is a capability
that it does not have; what it has, it does through the same boundary: its registers are a Context, it walks the guest's
own page tables, answers every operation, makes the same exits and obeys a kick before any instruction.

    instructions            interpreter_step.pyx
    memory and page walk    here
"""

from xenia.cpu.capabilities import Capabilities
from xenia.cpu.engine import Engine
from xenia.machine.machine import MachineMemory

CAPABILITIES: Capabilities

class InterpreterEngine(Engine):
    """The engine of one vcpu."""
    def __init__(self, memory: MachineMemory) -> None: ...

def new(memory: MachineMemory) -> Engine:
    """See registry.EngineModule; these three."""
    ...

def reserve(nr: int) -> int:
    """It maps nothing."""
    ...

def self_test() -> str:
    """There is nothing that it could be made of."""
    ...
