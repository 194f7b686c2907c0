"""Which segment descriptors a guest may have in a GDT or LDT frame.

A descriptor that is not present only faults, so it may be anything.  A present one may be

    a code or data segment  of any base, limit and type; its DPL becomes 3, because guest kernel and guest user are both
                            ring 3 to a 64-bit guest; its accessed bit is set, because the processor would otherwise
                            write to the table, which is mapped read-only
    type 0                  the second half of a call gate
    a call gate             with its reserved bits clear, leading to the guest's own or the flat code segment; its DPL
                            becomes 0, so that a call through it is a #GP and never one into the hypervisor's ring

Anything else (TSS, LDT, interrupt, trap and task gates) would hand the guest a way past the hypervisor, and is refused.
"""

def checked_descriptor(descriptor: int) -> int | None:
    """What Xen stores when a guest writes `descriptor` (update_descriptor), or None where it refuses with EINVAL."""
    ...
