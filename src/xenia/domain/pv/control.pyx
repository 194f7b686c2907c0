"""Control and debug registers as a PV guest sees them, whether it asks with an instruction or with a hypercall.

Most of CR0 and CR4 is Xen's: a guest changes CR0.TS, and of CR4 what matters to itself.  CR2 is kept in vcpu_info too,
and CR3 is the base pointer of the kernel's page tables.
"""

from libc.stdint cimport uint64_t

from xenia.abi.errno cimport XEN_EINVAL, XEN_ENODEV, XEN_EPERM
from xenia.abi.xen cimport HYPERVISOR_VIRT_END
from xenia.cpu.context cimport CR0_TS
from xenia.domain.domain cimport Vcpu
from xenia.domain.turn cimport turn_pass, turn_take
from xenia.machine.lock cimport lock, unlock
from xenia.mm.pv.update cimport new_base_pointer

cdef enum:
    CR4_TSD = 1 << 2
    CR4_FSGSBASE = 1 << 16
    CR4_GUEST = CR4_TSD | CR4_DE | CR4_FSGSBASE     # what a guest may change
    CR4_XEN = 1 << 5 | 1 << 9 | 1 << 10     # PAE OSFXSR OSXMMEXCPT: on, whatever the guest says
    DR6_ZEROES = 1 << 12
    DR7_ONES = 1 << 10
    DR7_ZEROES = 0xd800
    DR7_GD = 1 << 13
    DR7_ENABLED = 0xff

cdef extern from *:
    """
    #define XENIA_CR0 0x80050033ull
    #define XENIA_DR6_ONES 0xffff0ff0ull
    """
    const uint64_t CR0_XEN "XENIA_CR0"      # PG AM WP NE ET MP PE
    const uint64_t DR6_ONES "XENIA_DR6_ONES"


cdef void taskswitch(Vcpu *vcpu, bint set) noexcept nogil:
    if set:
        vcpu.control.cr0 |= CR0_TS
    else:
        vcpu.control.cr0 &= ~<uint64_t>CR0_TS
    vcpu.processor.ops.set_ts(vcpu.processor, set)


cdef bint control_read(Vcpu *vcpu, int n, uint64_t *value) noexcept nogil:
    if n == 0:
        value[0] = CR0_XEN | vcpu.control.cr0 & CR0_TS
    elif n == 2:
        value[0] = vcpu.control.cr2
    elif n == 3:
        value[0] = vcpu.mmu.root_kernel << 12
    elif n == 4:
        value[0] = CR4_XEN | vcpu.control.cr4 & CR4_GUEST
    else:
        return False
    return True


cdef bint control_write(Vcpu *vcpu, int n, uint64_t value) noexcept nogil:
    cdef int refused
    if n == 0:
        if (value ^ CR0_XEN) & ~<uint64_t>CR0_TS:
            return False
        taskswitch(vcpu, value & CR0_TS != 0)
    elif n == 2:
        vcpu.control.cr2 = value
        vcpu.info.arch.cr2 = value
    elif n == 3:
        turn_take(vcpu)
        lock(&vcpu.domain.memory.lock)
        refused = new_base_pointer(&vcpu.domain.mmu, &vcpu.mmu, value >> 12)
        unlock(&vcpu.domain.memory.lock)
        turn_pass(vcpu)
        return refused == 0
    elif n == 4:
        vcpu.control.cr4 = value & CR4_GUEST
        vcpu.processor.ops.set_cr4(vcpu.processor, CR4_XEN | vcpu.control.cr4)
    else:
        return False
    return True


cdef int debugreg_write(Vcpu *vcpu, int n, uint64_t value) noexcept nogil:
    cdef uint64_t in_use
    cdef int slot
    if n < 0 or n > 7 or (n == 4 or n == 5) and vcpu.control.cr4 & CR4_DE != 0:
        return -XEN_ENODEV
    in_use = value
    if n < 4:
        if <uint64_t>1 << 47 <= value < HYPERVISOR_VIRT_END:
            return -XEN_EPERM
    elif value >> 32:
        return -XEN_EINVAL
    elif n == 4 or n == 6:
        n = 6
        in_use = value = value & ~<uint64_t>DR6_ZEROES | DR6_ONES
    else:
        n = 7
        in_use = value = value & ~<uint64_t>DR7_ZEROES | DR7_ONES
        if value & DR7_GD:
            return -XEN_EPERM
        if value & DR7_ENABLED:
            # breakpoints on ports need CR4.DE; the guest's ports are none of the processor's
            for slot in range(4):
                if value >> (16 + 4 * slot) & 3 == 2:
                    if not vcpu.control.cr4 & CR4_DE:
                        return -XEN_EPERM
                    in_use &= ~(<uint64_t>3 << 2 * slot)
    vcpu.control.dr[n] = value
    vcpu.processor.ops.set_debugreg(vcpu.processor, n, in_use)
    return 0


cdef int debugreg_read(Vcpu *vcpu, int n, uint64_t *value) noexcept nogil:
    if n < 0 or n > 7 or (n == 4 or n == 5) and vcpu.control.cr4 & CR4_DE != 0:
        return -XEN_ENODEV
    if n == 4 or n == 6:
        value[0] = vcpu.control.dr[6] | DR6_ONES
    elif n == 5 or n == 7:
        value[0] = vcpu.control.dr[7] | DR7_ONES
    else:
        value[0] = vcpu.control.dr[n]
    return 0
