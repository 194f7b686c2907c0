"""Model-specific registers as a PV guest sees them: Xen 4.17's rules for an unprivileged domain on an Intel processor.

Almost everything raises #GP.  What is here is what Xen answers: segment bases that really change the vcpu, a few
registers that kernels read before they look whether they exist, counters and machine-check banks with nothing in them,
and some whose writes are swallowed.  DEBUGCTL is one more: Xen answered it before 4.15, and still does to a domain with
msr_relaxed, so a kernel that never heard of the #GP reads what a processor holds after reset.
"""

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from xenia.cpu.context cimport SREG_FS, SREG_GS
from xenia.domain.domain cimport Vcpu
from xenia.domain.pv.segments cimport is_canonical
from xenia.domain.turn cimport turn_pass, turn_take
from xenia.machine.lock cimport lock, unlock
from xenia.machine.machine cimport FRAME_WRITABLE
from xenia.machine.paging cimport PAGE_SIZE
from xenia.mm.memory cimport mm_writes, mm_wrote
from xenia.mm.references cimport get_page_and_type, put_page_and_type

from xenia.domain.build.hypercall_page import hypercall_page

cdef bytes stubs = hypercall_page()
cdef const char *HYPERCALL_PAGE = stubs     # as at start of day

cdef enum:
    IA32_TSC = 0x10
    IA32_APIC_BASE = 0x1b
    IA32_MCG_STATUS = 0x17a
    IA32_MC0_CTL2 = 0x280
    XEN_HYPERCALL_PAGE = 0x40000000

    MCE_BANKS = 2           # what Xen gives every guest, nothing ever in them
    MCG_CAP_VALUE = MCE_BANKS | 1 << 10 | 1 << 11 | 1 << 24     # CMCI, TES, SER

    APIC_BASE_BSP = 1 << 8
    APIC_BASE_ENABLE = 1 << 11
    FEATURE_CONTROL_LOCK = 1
    MISC_ENABLE_VALUE = 1 << 0 | 1 << 11 | 1 << 12     # fast strings; branch trace and PEBS unavailable

    EFER_VALUE = 1 << 0 | 1 << 8 | 1 << 10 | 1 << 11    # SCE LME LMA NX

cdef enum Kind:
    READ_ONLY
    READ_ZERO               # and no other value is taken
    READ_ANY                # whatever is written changes nothing
    WRITE_ANY               # and nothing can be read

cdef struct Constant:
    uint32_t first, last
    Kind kind
    uint64_t value

cdef extern from *:
    """
    #define XENIA_MSR_EFER           0xc0000080u
    #define XENIA_MSR_FS_BASE        0xc0000100u
    #define XENIA_MSR_GS_BASE        0xc0000101u
    #define XENIA_MSR_SHADOW_GS_BASE 0xc0000102u
    #define XENIA_MSR_TSC_AUX        0xc0000103u
    """
    const uint32_t EFER "XENIA_MSR_EFER"
    const uint32_t FS_BASE "XENIA_MSR_FS_BASE"
    const uint32_t GS_BASE "XENIA_MSR_GS_BASE"
    const uint32_t SHADOW_GS_BASE "XENIA_MSR_SHADOW_GS_BASE"
    const uint32_t TSC_AUX "XENIA_MSR_TSC_AUX"


cdef uint64_t EVERYTHING = ~<uint64_t>0

cdef Constant[26] CONSTANTS = [
    Constant(0x0, 0x1, READ_ONLY, 0),                       # P5_MC_ADDR, P5_MC_TYPE
    Constant(0x17, 0x17, READ_ONLY, 0),                     # PLATFORM_ID
    Constant(0x3a, 0x3a, READ_ONLY, FEATURE_CONTROL_LOCK),
    Constant(0x8b, 0x8b, READ_ZERO, 0),                     # BIOS_SIGN_ID
    Constant(0xc1, 0xc8, READ_ANY, 0),                      # PMC0 to PMC7
    Constant(0xce, 0xce, READ_ONLY, 0),                     # PLATFORM_INFO
    Constant(0xe7, 0xe8, WRITE_ANY, 0),                     # MPERF, APERF
    Constant(0x140, 0x140, READ_ZERO, 0),                   # MISC_FEATURES_ENABLES
    Constant(0x179, 0x179, READ_ANY, MCG_CAP_VALUE),
    Constant(0x17b, 0x17b, READ_ANY, 0),                    # MCG_CTL
    Constant(0x186, 0x189, READ_ANY, 0),                    # PERFEVTSEL0 to 3
    Constant(0x198, 0x198, READ_ONLY, 0),                   # PERF_STATUS
    Constant(0x199, 0x199, READ_ANY, 0),                    # PERF_CTL
    Constant(0x19a, 0x19a, WRITE_ANY, 0),                   # CLOCK_MODULATION
    Constant(0x19c, 0x19c, READ_ONLY, 0),                   # THERM_STATUS
    Constant(0x1a0, 0x1a0, READ_ANY, MISC_ENABLE_VALUE),
    Constant(0x1b0, 0x1b0, WRITE_ANY, 0),                   # ENERGY_PERF_BIAS
    Constant(0x1d9, 0x1d9, READ_ONLY, 0),                   # DEBUGCTL
    Constant(0x277, 0x277, READ_ONLY, 0x050100070406),      # PAT: WB WT UC- UC, WC WP UC UC; Xen's, not the reset value
    Constant(0x282, 0x29f, READ_ANY, 0),                    # MC2_CTL2 to MC31_CTL2
    Constant(0x309, 0x30b, READ_ANY, 0),                    # FIXED_CTR0 to 2
    Constant(0x345, 0x345, READ_ONLY, 0),                   # PERF_CAPABILITIES
    Constant(0x38d, 0x390, READ_ANY, 0),                    # FIXED_CTR_CTRL, PERF_GLOBAL_STATUS, _CTRL, _OVF_CTRL
    Constant(0x400, 0x407, READ_ZERO, 0),                   # MC0_CTL to MC1_MISC; see msr_read for the CTLs
    Constant(0x408, 0x47f, READ_ANY, 0),                    # MC2_CTL to MC31_MISC
    Constant(0xc001001f, 0xc001001f, READ_ANY, 0),          # an AMD NB_CFG, whatever the processor
]


cdef const Constant *constant(uint32_t index) noexcept nogil:
    cdef int i
    for i in range(26):
        if CONSTANTS[i].first <= index <= CONSTANTS[i].last:
            return &CONSTANTS[i]
    return NULL


cdef inline bint is_bank_control(uint32_t index) noexcept nogil:
    return index == 0x400 or index == 0x404


cdef uint64_t segment_base(Vcpu *vcpu, int sreg) noexcept nogil:
    cdef uint16_t selector
    cdef uint64_t base
    vcpu.processor.ops.get_segment(vcpu.processor, sreg, &selector, &base)
    return base


cdef bint msr_read(Vcpu *vcpu, uint32_t index, uint64_t *value) noexcept nogil:
    cdef const Constant *known
    if index == FS_BASE:
        value[0] = segment_base(vcpu, SREG_FS)
    elif index == GS_BASE:
        value[0] = segment_base(vcpu, SREG_GS)
    elif index == SHADOW_GS_BASE:
        value[0] = vcpu.control.gs_base_user
    elif index == IA32_TSC:
        value[0] = vcpu.processor.ops.read_tsc(vcpu.processor)
    elif index == EFER:
        value[0] = EFER_VALUE
    elif index == TSC_AUX:
        value[0] = vcpu.control.tsc_aux
    elif index == IA32_APIC_BASE:
        value[0] = <uint64_t>0xfee00000 | APIC_BASE_ENABLE | (0 if vcpu.id else APIC_BASE_BSP)
    elif index == IA32_MCG_STATUS:
        value[0] = vcpu.control.mcg_status
    elif IA32_MC0_CTL2 <= index < IA32_MC0_CTL2 + MCE_BANKS:
        value[0] = vcpu.control.mc_ctl2[index - IA32_MC0_CTL2]
    elif is_bank_control(index):
        value[0] = EVERYTHING
    elif index == XEN_HYPERCALL_PAGE:
        value[0] = 0
    else:
        known = constant(index)
        if known == NULL or known.kind == WRITE_ANY:
            return False
        value[0] = known.value
    return True


cdef bint msr_write(Vcpu *vcpu, uint32_t index, uint64_t value) noexcept nogil:
    cdef const Constant *known
    if index == FS_BASE or index == GS_BASE or index == SHADOW_GS_BASE:
        if not is_canonical(value):
            return False
        if index == FS_BASE:
            vcpu.processor.ops.set_segment_base(vcpu.processor, SREG_FS, value)
        elif index == GS_BASE:
            vcpu.control.gs_base_kernel = value
            vcpu.processor.ops.set_segment_base(vcpu.processor, SREG_GS, value)
        else:
            vcpu.control.gs_base_user = value
        return True
    if index == TSC_AUX:
        if value >> 32:
            return False
        vcpu.control.tsc_aux = value
        return True
    if index == EFER:
        return value == EFER_VALUE
    if index == XEN_HYPERCALL_PAGE:
        return fill_hypercall_page(vcpu, value)
    if index == IA32_MCG_STATUS:
        vcpu.control.mcg_status = value
        return True
    if IA32_MC0_CTL2 <= index < IA32_MC0_CTL2 + MCE_BANKS:
        vcpu.control.mc_ctl2[index - IA32_MC0_CTL2] = value
        return True
    known = constant(index)
    if is_bank_control(index) or known != NULL and (known.kind == READ_ANY or known.kind == WRITE_ANY):
        return True
    return known != NULL and known.kind == READ_ZERO and value == 0


cdef bint fill_hypercall_page(Vcpu *vcpu, uint64_t value) noexcept nogil:
    # Outside: who holds the memory's lock may wait for this processor.
    cdef bint filled
    turn_take(vcpu)
    filled = fill_page(vcpu, value)
    turn_pass(vcpu)
    return filled


cdef bint fill_page(Vcpu *vcpu, uint64_t value) noexcept nogil:
    cdef uint64_t mfn = value >> 12
    cdef bint held
    lock(&vcpu.domain.memory.lock)
    held = value & 0xfff == 0 and get_page_and_type(&vcpu.domain.memory, mfn, FRAME_WRITABLE) == 0
    unlock(&vcpu.domain.memory.lock)
    if not held:
        return False
    mm_writes(&vcpu.domain.memory, mfn)
    memcpy(vcpu.domain.machine.base + value, HYPERCALL_PAGE, PAGE_SIZE)
    mm_wrote(&vcpu.domain.memory, value, PAGE_SIZE)
    lock(&vcpu.domain.memory.lock)
    put_page_and_type(&vcpu.domain.memory, mfn)
    unlock(&vcpu.domain.memory.lock)
    return True
