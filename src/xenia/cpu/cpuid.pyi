"""CPUID as every guest sees it, whatever engine runs: one table.

The processor that it describes is a plain in-order x86-64 one (signature of an Atom D510), because an engine that
translates code does not speculate on the guest's behalf: a Linux guest then takes no counter-measures against what
cannot happen, retpolines first of all.  What is listed is what every engine does; what the engines lack, or what does
not exist for a PV guest, is not:

    XSAVE, AVX, F16C, FMA       no extended state
    PSE, PSE36, PGE, VME, MTRR  belong to the hypervisor
    APIC, X2APIC, MCE, MCA, DS  no such device
    PCID, SMEP, SMAP, UMIP, LA57, PKU, MONITOR
"""

def hardware_capabilities() -> list[int]:
    """What guests are offered, in the words and the order of `hw_cap` of Xen's physinfo (public/sysctl.h)."""
    ...
