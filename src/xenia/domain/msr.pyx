"""Model-specific registers as a PV guest sees them: Xen 4.17's rules for an unprivileged domain.

Almost everything raises #GP.  What is here is what Xen answers: segment bases that really change the vcpu, a few
registers that kernels read before they look whether they exist, and some whose writes are swallowed.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from xenia.abi.xen cimport HYPERVISOR_iret
from xenia.cpu.processor cimport SREG_FS, SREG_GS
from xenia.domain.domain cimport Vcpu
from xenia.domain.segments cimport is_canonical
from xenia.machine.lock cimport lock, unlock
from xenia.machine.machine cimport FRAME_WRITABLE
from xenia.mm.pvmmu cimport get_page_and_type, put_page_and_type

cdef enum:
    IA32_TSC = 0x10
    IA32_PLATFORM_ID = 0x17
    IA32_APIC_BASE = 0x1b
    IA32_FEATURE_CONTROL = 0x3a
    IA32_BIOS_UPDT_TRIG = 0x79
    IA32_BIOS_SIGN_ID = 0x8b
    INTEL_PLATFORM_INFO = 0xce
    INTEL_MISC_FEATURES_ENABLES = 0x140
    IA32_MCG_CAP = 0x179
    IA32_MCG_STATUS = 0x17a
    IA32_PERF_STATUS = 0x198
    IA32_PERF_CTL = 0x199
    IA32_THERM_CONTROL = 0x19a
    IA32_THERM_STATUS = 0x19c
    IA32_MISC_ENABLE = 0x1a0
    IA32_CR_PAT = 0x277
    IA32_PERF_CAPABILITIES = 0x345
    IA32_MC0_CTL = 0x400
    XEN_HYPERCALL_PAGE = 0x40000000

    MCE_BANKS = 2           # what Xen gives every guest, nothing ever in them
    MCG_CAP_VALUE = MCE_BANKS | 1 << 10 | 1 << 11 | 1 << 24     # CMCI, TES, SER

    APIC_BASE_BSP = 1 << 8
    APIC_BASE_ENABLE = 1 << 11
    FEATURE_CONTROL_LOCK = 1
    MISC_ENABLE_VALUE = 1 << 0 | 1 << 11 | 1 << 12     # fast strings; branch trace and PEBS unavailable

    EFER_VALUE = 1 << 0 | 1 << 8 | 1 << 10 | 1 << 11    # SCE LME LMA NX

cdef extern from *:
    """
    #define XENIA_MSR_EFER           0xc0000080u
    #define XENIA_MSR_FS_BASE        0xc0000100u
    #define XENIA_MSR_GS_BASE        0xc0000101u
    #define XENIA_MSR_SHADOW_GS_BASE 0xc0000102u
    #define XENIA_MSR_TSC_AUX        0xc0000103u
    #define XENIA_PAT                0x050100070406ull
    """
    const uint32_t EFER "XENIA_MSR_EFER"
    const uint32_t FS_BASE "XENIA_MSR_FS_BASE"
    const uint32_t GS_BASE "XENIA_MSR_GS_BASE"
    const uint32_t SHADOW_GS_BASE "XENIA_MSR_SHADOW_GS_BASE"
    const uint32_t TSC_AUX "XENIA_MSR_TSC_AUX"
    const uint64_t PAT "XENIA_PAT"          # WB WT UC- UC, WC WP UC UC: Xen's, not the reset value


cdef uint64_t segment_base(Vcpu *vcpu, int sreg) noexcept nogil:
    cdef uint16_t selector
    cdef uint64_t base
    vcpu.processor.ops.get_segment(vcpu.processor, sreg, &selector, &base)
    return base


cdef bint msr_read(Vcpu *vcpu, uint32_t index, uint64_t *value) noexcept nogil:
    if index == FS_BASE:
        value[0] = segment_base(vcpu, SREG_FS)
    elif index == GS_BASE:
        value[0] = segment_base(vcpu, SREG_GS)
    elif index == SHADOW_GS_BASE:
        value[0] = vcpu.gs_base_user
    elif index == IA32_TSC:
        value[0] = vcpu.processor.ops.read_tsc(vcpu.processor)
    elif index == EFER:
        value[0] = EFER_VALUE
    elif index == TSC_AUX:
        value[0] = vcpu.tsc_aux
    elif index == IA32_APIC_BASE:
        value[0] = <uint64_t>0xfee00000 | APIC_BASE_ENABLE | (0 if vcpu.id else APIC_BASE_BSP)
    elif index == IA32_FEATURE_CONTROL:
        value[0] = FEATURE_CONTROL_LOCK
    elif index == IA32_MISC_ENABLE:
        value[0] = MISC_ENABLE_VALUE
    elif index == IA32_MCG_CAP:
        value[0] = MCG_CAP_VALUE
    elif IA32_MC0_CTL <= index < IA32_MC0_CTL + 4 * MCE_BANKS:
        value[0] = 0 if index & 3 else ~<uint64_t>0
    elif index == IA32_CR_PAT:
        value[0] = PAT
    elif index in (IA32_PLATFORM_ID, IA32_BIOS_SIGN_ID, INTEL_PLATFORM_INFO, INTEL_MISC_FEATURES_ENABLES,
                   IA32_MCG_STATUS, IA32_PERF_STATUS, IA32_PERF_CTL, IA32_THERM_STATUS, IA32_PERF_CAPABILITIES,
                   XEN_HYPERCALL_PAGE):
        value[0] = 0
    else:
        return False
    return True


cdef bint msr_write(Vcpu *vcpu, uint32_t index, uint64_t value) noexcept nogil:
    if index == FS_BASE or index == GS_BASE or index == SHADOW_GS_BASE:
        if not is_canonical(value):
            return False
        if index == FS_BASE:
            vcpu.processor.ops.set_segment_base(vcpu.processor, SREG_FS, value)
        elif index == GS_BASE:
            vcpu.gs_base_kernel = value
            vcpu.processor.ops.set_segment_base(vcpu.processor, SREG_GS, value)
        else:
            vcpu.gs_base_user = value
        return True
    if index == TSC_AUX:
        if value >> 32:
            return False
        vcpu.tsc_aux = value
        return True
    if index == EFER:
        return value == EFER_VALUE
    if index == INTEL_MISC_FEATURES_ENABLES:
        return value == 0
    if index == XEN_HYPERCALL_PAGE:
        return fill_hypercall_page(vcpu, value)
    # Taken, and without effect.
    return (index in (IA32_BIOS_SIGN_ID, IA32_MISC_ENABLE, IA32_MCG_STATUS, IA32_PERF_CTL)
            or IA32_MC0_CTL <= index < IA32_MC0_CTL + 4 * MCE_BANKS)


cdef bint fill_hypercall_page(Vcpu *vcpu, uint64_t value) noexcept nogil:
    # As domain/build/hypercall_page.py does at start of day: a stub of 32 bytes for each number.
    cdef uint64_t mfn = value >> 12
    cdef uint8_t *stub
    cdef bint returns, held
    cdef int number, n
    lock(&vcpu.domain.mmu.lock)
    held = value & 0xfff == 0 and get_page_and_type(&vcpu.domain.mmu, mfn, FRAME_WRITABLE) == 0
    unlock(&vcpu.domain.mmu.lock)
    if not held:
        return False
    stub = vcpu.domain.machine.base + value
    memset(stub, 0xcc, 4096)
    for number in range(128):
        returns = number != HYPERVISOR_iret
        memcpy(stub, b"\x51\x41\x53", 3)                       # push %rcx; push %r11
        n = 3
        if not returns:
            stub[n] = 0x50                                      # push %rax
            n += 1
        stub[n] = 0xb8                                          # mov $number, %eax
        memcpy(stub + n + 1, &number, 4)
        memcpy(stub + n + 5, b"\x0f\x05", 2)                    # syscall
        if returns:
            memcpy(stub + n + 7, b"\x41\x5b\x59\xc3", 4)        # pop %r11; pop %rcx; ret
        stub += 32
    vcpu.processor.ops.code_dirty(vcpu.processor, value, 4096)
    lock(&vcpu.domain.mmu.lock)
    put_page_and_type(&vcpu.domain.mmu, mfn)
    unlock(&vcpu.domain.mmu.lock)
    return True
