"""Segment selectors as a 64-bit guest may load them.

Every descriptor in a GDT or LDT frame was checked when it was written (mm/pv/descriptors), so only what depends on the
way of loading is checked here.  Guest code runs on ring-3 descriptors, whichever mode it is in; the hypervisor's own
flat ones, which nearly all code uses, are not looked up.
"""

from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memset

from xenia.abi.xen cimport FLAT_RING3_CS64, FLAT_RING3_SS
from xenia.cpu.context cimport SegmentDescriptor
from xenia.cpu.processor cimport TRAP_GP, TRAP_NP, TRAP_SS
from xenia.domain.domain cimport Vcpu
from xenia.domain.turn cimport turn_pass, turn_take
from xenia.machine.lock cimport lock, unlock
from xenia.mm.pv.descriptors cimport find_descriptor

cdef enum:
    SELECTOR_TI = 4

cdef enum:                  # SegmentDescriptor.attributes
    TYPE_WRITABLE = 1 << 9      # of data
    TYPE_READABLE = 1 << 9      # of code
    TYPE_CONFORMING = 1 << 10
    TYPE_CODE = 1 << 11
    DESCRIPTOR_S = 1 << 12
    DESCRIPTOR_P = 1 << 15
    DESCRIPTOR_L = 1 << 21
    DESCRIPTOR_DB = 1 << 22
    CODE = DESCRIPTOR_S | TYPE_CODE
    STACK = DESCRIPTOR_S | TYPE_WRITABLE


cdef bint find(Vcpu *vcpu, uint16_t selector, SegmentDescriptor *descriptor) noexcept nogil:
    # The GDT's pages are the vcpu's own to look at.  Those of the LDT are mapped on first use.
    cdef bint found
    if not selector & SELECTOR_TI:
        return find_held(vcpu, selector, descriptor)
    turn_take(vcpu)
    lock(&vcpu.domain.memory.lock)
    found = find_held(vcpu, selector, descriptor)
    unlock(&vcpu.domain.memory.lock)
    turn_pass(vcpu)
    return found


cdef inline bint find_held(Vcpu *vcpu, uint16_t selector, SegmentDescriptor *descriptor) noexcept nogil:
    return find_descriptor(&vcpu.domain.mmu, &vcpu.mmu, selector, descriptor) == 0


cdef inline uint32_t dpl(SegmentDescriptor *descriptor) noexcept nogil:
    return descriptor.attributes >> 13 & 3


cdef int iret_fault(Vcpu *vcpu, uint32_t *error) noexcept nogil:
    cdef SegmentDescriptor code, stack
    cdef bint long_mode = True
    if vcpu.context.cs != FLAT_RING3_CS64:
        error[0] = vcpu.context.cs & 0xfffc
        if not find(vcpu, vcpu.context.cs, &code) or code.attributes & CODE != CODE:
            return TRAP_GP
        if dpl(&code) != 3 and not code.attributes & TYPE_CONFORMING:
            return TRAP_GP
        if code.attributes & (DESCRIPTOR_L | DESCRIPTOR_DB) == DESCRIPTOR_L | DESCRIPTOR_DB:
            return TRAP_GP
        if not code.attributes & DESCRIPTOR_P:
            return TRAP_NP
        long_mode = code.attributes & DESCRIPTOR_L != 0
    if vcpu.context.ss != FLAT_RING3_SS:
        error[0] = vcpu.context.ss & 0xfffc
        if not find(vcpu, vcpu.context.ss, &stack) or stack.attributes & (CODE | TYPE_WRITABLE) != STACK:
            return TRAP_GP
        if dpl(&stack) != 3:
            return TRAP_GP
        if not stack.attributes & DESCRIPTOR_P:
            return TRAP_SS
    error[0] = 0
    if (not is_canonical(vcpu.context.rip)) if long_mode else vcpu.context.rip > code.limit:
        return TRAP_GP
    return 0


cdef bint data_segment(Vcpu *vcpu, uint16_t selector, SegmentDescriptor *descriptor) noexcept nogil:
    if selector & 0xfffc == 0:
        memset(descriptor, 0, sizeof(SegmentDescriptor))
        return True
    return find(vcpu, selector, descriptor) and is_data(descriptor)


cdef bint data_segment_held(Vcpu *vcpu, uint16_t selector, SegmentDescriptor *descriptor) noexcept nogil:
    if selector & 0xfffc == 0:
        memset(descriptor, 0, sizeof(SegmentDescriptor))
        return True
    return find_held(vcpu, selector, descriptor) and is_data(descriptor)


cdef bint is_data(SegmentDescriptor *descriptor) noexcept nogil:
    cdef uint32_t need = DESCRIPTOR_P | DESCRIPTOR_S
    if descriptor.attributes & need != need:
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
