"""The native engine without its policy and without the host's CPUID faulting, for tests: see executable.pyx."""

from __future__ import annotations

from xenia.cpu.engine import Engine
from xenia.cpu.engines.native.engine import CAPABILITIES, NativeEngine, reserve, self_test
from xenia.machine.machine import MachineMemory

__all__ = ["CAPABILITIES", "new", "reserve", "self_test"]


def new(memory: MachineMemory) -> Engine:
    """See registry.EngineModule."""
    return NativeEngine(memory, eager=True, looks=True)
