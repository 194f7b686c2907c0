"""What an engine can do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Capabilities:
    """What every processor of an engine can do; it never changes, so whoever asks may ask once.

    every_instruction   runs all that CPUID offers, in 64-bit and compatibility mode; else what its module lists
    hides_instructions  takes what CPUID does not offer for an invalid opcode, all of it
    segments            loads selectors from the guest's tables, and keeps what it loaded
    debug_registers     traps at the breakpoints and data that dr0 to dr3 name, and honours RF
    x87_bits            of precision: 80 as a processor's, or what a host's double has; 0 without an FPU
    exact_preemption    a kick is obeyed in any program, between two instructions of which none is half done
    siblings            several run over the same memory, as the vcpus of one domain
    guest_tables        walks the guest's own page tables: needs flushes, but no word of each entry that changes
    shows_translations  can tell what it has cached of page tables, for the debug mode
    """

    every_instruction: bool
    hides_instructions: bool
    segments: bool
    debug_registers: bool
    x87_bits: int
    exact_preemption: bool
    siblings: bool
    guest_tables: bool
    shows_translations: bool
