"""Segment selectors as a 64-bit guest may load them.

Every descriptor in a GDT or LDT frame was checked when it was written (mm/descriptors), so only what depends on the way of
loading is checked here.  Guest code runs on ring-3 descriptors, whichever mode it is in; the hypervisor's own flat
ones, which nearly all code uses, are not looked up.
"""

from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memset

from xenia.abi.xen cimport FLAT_RING3_CS64, FLAT_RING3_SS
from xenia.cpu.processor cimport SegmentDescriptor
from xenia.domain.domain cimport Vcpu
from xenia.mm.descriptors cimport find_descriptor

cdef enum:                  # SegmentDescriptor.attributes
    TYPE_WRITABLE = 1 << 9      # of data
    TYPE_READABLE = 1 << 9      # of code
    TYPE_CONFORMING = 1 << 10
    TYPE_CODE = 1 << 11
    DESCRIPTOR_S = 1 << 12
    DESCRIPTOR_P = 1 << 15
    DESCRIPTOR_L = 1 << 21
    DESCRIPTOR_DB = 1 << 22


cdef inline bint find(Vcpu *vcpu, uint16_t selector, SegmentDescriptor *descriptor) noexcept nogil:
    return find_descriptor(&vcpu.domain.mmu, &vcpu.mmu, selector, descriptor) == 0


cdef inline uint32_t dpl(SegmentDescriptor *descriptor) noexcept nogil:
    return descriptor.attributes >> 13 & 3


cdef bint iret_can_load(Vcpu *vcpu) noexcept nogil:
    cdef SegmentDescriptor code, stack
    cdef uint32_t need = DESCRIPTOR_P | DESCRIPTOR_S | TYPE_CODE
    if vcpu.context.cs == FLAT_RING3_CS64:
        code.attributes = DESCRIPTOR_L
    else:
        if not find(vcpu, vcpu.context.cs, &code) or code.attributes & need != need:
            return False
        if dpl(&code) != 3 and not code.attributes & TYPE_CONFORMING:
            return False
        if code.attributes & (DESCRIPTOR_L | DESCRIPTOR_DB) == DESCRIPTOR_L | DESCRIPTOR_DB:
            return False
    if code.attributes & DESCRIPTOR_L:
        if not is_canonical(vcpu.context.rip):
            return False
    elif vcpu.context.rip > code.limit:
        return False
    if vcpu.context.ss == FLAT_RING3_SS:
        return True
    need = DESCRIPTOR_P | DESCRIPTOR_S | TYPE_WRITABLE
    return (find(vcpu, vcpu.context.ss, &stack) and stack.attributes & (need | TYPE_CODE) == need
            and dpl(&stack) == 3)


cdef bint data_segment(Vcpu *vcpu, uint16_t selector, SegmentDescriptor *descriptor) noexcept nogil:
    cdef uint32_t need = DESCRIPTOR_P | DESCRIPTOR_S
    if selector & 0xfffc == 0:
        memset(descriptor, 0, sizeof(SegmentDescriptor))
        return True
    if not find(vcpu, selector, descriptor) or descriptor.attributes & need != need:
        return False
    if descriptor.attributes & TYPE_CODE:
        if not descriptor.attributes & TYPE_READABLE:
            return False
        if descriptor.attributes & TYPE_CONFORMING:
            return True
    return dpl(descriptor) == 3


cdef int code_mode(Vcpu *vcpu) noexcept nogil:
    cdef SegmentDescriptor code
    if vcpu.context.cs == FLAT_RING3_CS64:
        return 64
    if not find(vcpu, vcpu.context.cs, &code) or code.attributes & DESCRIPTOR_L:
        return 64
    return 32 if code.attributes & DESCRIPTOR_DB else 16
