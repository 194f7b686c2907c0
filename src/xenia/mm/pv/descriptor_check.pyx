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

from libc.stdint cimport uint16_t, uint64_t

from xenia.abi.errno cimport XEN_EINVAL
from xenia.abi.xen cimport FIRST_RESERVED_GDT_ENTRY, FLAT_RING3_CS64

cdef enum:                  # bit numbers
    ACCESSED = 40
    TYPE = 40
    CODE_OR_DATA = 44
    DPL = 45
    PRESENT = 47

cdef enum:
    TYPE_CALL_GATE = 12
    SELECTOR_TI = 4         # in the LDT


cdef inline bint gate_selector_allowed(uint16_t selector) noexcept nogil:
    return selector >> 3 < FIRST_RESERVED_GDT_ENTRY or selector == FLAT_RING3_CS64 or selector & SELECTOR_TI != 0


cdef bint check_descriptor(uint64_t *descriptor) noexcept nogil:
    cdef uint64_t value = descriptor[0]
    cdef uint64_t kind = value >> TYPE & 15
    if not value >> PRESENT & 1:
        return True
    value |= <uint64_t>3 << DPL
    if value >> CODE_OR_DATA & 1:
        value |= <uint64_t>1 << ACCESSED
    elif kind == TYPE_CALL_GATE:
        if value >> 32 & 0xff or not gate_selector_allowed(<uint16_t>(value >> 16)):
            return False
        value &= ~(<uint64_t>3 << DPL)
    elif kind != 0:
        return False
    descriptor[0] = value
    return True


cdef int validate_segment_descriptors(uint64_t *words) noexcept nogil:
    cdef uint64_t value
    cdef int i
    for i in range(512):
        value = words[i]
        if not check_descriptor(&value):
            return -XEN_EINVAL
    for i in range(512):
        check_descriptor(&words[i])
    return 0


def checked_descriptor(descriptor: int) -> int | None:
    """What Xen stores when a guest writes `descriptor` (update_descriptor), or None where it refuses with EINVAL."""
    cdef uint64_t value = descriptor
    return value if check_descriptor(&value) else None
