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

from libc.stdint cimport uint32_t

cdef enum:
    # Leaf 1, edx.
    FPU = 1 << 0
    DE = 1 << 2
    TSC = 1 << 4
    MSR = 1 << 5
    PAE = 1 << 6
    CX8 = 1 << 8
    SEP = 1 << 11
    CMOV = 1 << 15
    PAT = 1 << 16
    CLFLUSH = 1 << 19
    MMX = 1 << 23
    FXSR = 1 << 24
    SSE = 1 << 25
    SSE2 = 1 << 26
    SS = 1 << 27
    # Leaf 1, ecx.
    SSE3 = 1 << 0
    PCLMULQDQ = 1 << 1
    SSSE3 = 1 << 9
    CX16 = 1 << 13
    SSE4_1 = 1 << 19
    SSE4_2 = 1 << 20
    MOVBE = 1 << 22
    POPCNT = 1 << 23
    AES = 1 << 25
    RDRAND = 1 << 30
    # Leaf 7, ebx.
    FSGSBASE = 1 << 0
    BMI1 = 1 << 3
    BMI2 = 1 << 8
    ERMS = 1 << 9
    ADX = 1 << 19
    CLFLUSHOPT = 1 << 23
    CLWB = 1 << 24
    # Leaf 0x80000001, edx and ecx.
    SYSCALL = 1 << 11
    NX = 1 << 20
    RDTSCP = 1 << 27
    LM = 1 << 29
    LAHF = 1 << 0
    ABM = 1 << 5
    PREFETCHW = 1 << 8

    ADDRESS_BITS = 40           # of machine addresses
    LINEAR_ADDRESS_BITS = 48
    XEN_MAJOR = 4
    XEN_MINOR = 17

cdef extern from *:
    """
    #define XENIA_HYPERVISOR_PRESENT 0x80000000u
    """
    const uint32_t HYPERVISOR "XENIA_HYPERVISOR_PRESENT"

cdef struct Leaf:
    uint32_t leaf
    uint32_t subleaf            # 0 for leaves without
    uint32_t eax, ebx, ecx, edx


cdef inline uint32_t text(const char *four) noexcept nogil:
    return <uint32_t>four[0] | <uint32_t>four[1] << 8 | <uint32_t>four[2] << 16 | <uint32_t>four[3] << 24


cdef Leaf[19] TABLE = [
    # Vendor, and the last basic leaf: the frequency, which spares a guest the calibration against a timer.
    Leaf(0x0, 0, 0x16, text(b"Genu"), text(b"ntel"), text(b"ineI")),
    # Family 6, model 0x1c, stepping 10; CLFLUSH lines of 64 bytes, one logical processor.
    Leaf(0x1, 0, 0x106ca, 1 << 16 | 8 << 8,
         HYPERVISOR | SSE3 | PCLMULQDQ | SSSE3 | CX16 | SSE4_1 | SSE4_2 | MOVBE | POPCNT | AES | RDRAND,
         FPU | DE | TSC | MSR | PAE | CX8 | SEP | CMOV | PAT | CLFLUSH | MMX | FXSR | SSE | SSE2 | SS),
    # Cache descriptors: 32 KiB L1 caches, 512 KiB L2.
    Leaf(0x2, 0, 0x00000001, 0, 0, 0x002c307f),
    # The same, deterministic: L1d, L1i, L2.
    Leaf(0x4, 0, 0x00000121, 0x01c0003f, 63, 0),
    Leaf(0x4, 1, 0x00000122, 0x01c0003f, 63, 0),
    Leaf(0x4, 2, 0x00000143, 0x01c0003f, 1023, 0),
    Leaf(0x7, 0, 0, FSGSBASE | BMI1 | BMI2 | ERMS | ADX | CLFLUSHOPT | CLWB, 0, 0),
    # Xen's own leaves (public/arch-x86/cpuid.h).
    Leaf(0x40000000, 0, 0x40000005, text(b"XenV"), text(b"MMXe"), text(b"nVMM")),
    Leaf(0x40000001, 0, XEN_MAJOR << 16 | XEN_MINOR, 0, 0, 0),
    Leaf(0x40000002, 0, 1, 0x40000000, 1, 0),      # one hypercall page, its MSR; MMU_PT_UPDATE_PRESERVE_AD
    Leaf(0x40000003, 0, 4, 0, 0, 0),                # RDTSCP; tsc_mode default
    Leaf(0x40000005, 0, 0, ADDRESS_BITS, 0, 0),
    Leaf(0x80000000, 0, 0x80000008, 0, 0, 0),
    Leaf(0x80000001, 0, 0, 0, LAHF | ABM | PREFETCHW, SYSCALL | NX | RDTSCP | LM),
    Leaf(0x80000002, 0, text(b"Xeni"), text(b"a Vi"), text(b"rtua"), text(b"l CP")),
    Leaf(0x80000003, 0, text(b"U\0\0\0"), 0, 0, 0),
    Leaf(0x80000006, 0, 0, 0, 512 << 16 | 6 << 12 | 64, 0),
    Leaf(0x80000007, 0, 0, 0, 0, 0),
    Leaf(0x80000008, 0, LINEAR_ADDRESS_BITS << 8 | ADDRESS_BITS, 0, 0, 0),
]


cdef void cpuid_policy(uint32_t leaf, uint32_t subleaf, uint32_t *eax_ebx_ecx_edx) noexcept nogil:
    cdef Leaf *row
    cdef int i
    cdef bint has_subleaves = leaf == 4 or leaf == 7
    for i in range(4):
        eax_ebx_ecx_edx[i] = 0
    for i in range(19):
        row = &TABLE[i]
        if row.leaf == leaf and (row.subleaf == subleaf or not has_subleaves):
            eax_ebx_ecx_edx[0] = row.eax
            eax_ebx_ecx_edx[1] = row.ebx
            eax_ebx_ecx_edx[2] = row.ecx
            eax_ebx_ecx_edx[3] = row.edx
            return


def hardware_capabilities() -> list[int]:
    """What guests are offered, in the words and the order of `hw_cap` of Xen's physinfo (public/sysctl.h)."""
    cdef uint32_t[4] basic, extended, state, structured, power
    cpuid_policy(1, 0, basic)
    cpuid_policy(0x80000001, 0, extended)
    cpuid_policy(0xd, 1, state)
    cpuid_policy(7, 0, structured)
    cpuid_policy(0x80000007, 0, power)
    return [basic[3], basic[2], extended[3], extended[2], state[0], structured[1], structured[2], power[3]]


cdef void cpuid_of_processor(uint32_t leaf, uint32_t subleaf, uint32_t apic_id,
                             uint32_t *eax_ebx_ecx_edx) noexcept nogil:
    cpuid_policy(leaf, subleaf, eax_ebx_ecx_edx)
    if leaf == 1:
        eax_ebx_ecx_edx[1] |= apic_id << 24
