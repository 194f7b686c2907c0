"""CPUID as a PV guest sees it: the policy's answers (cpu/cpuid), and the frequency of the domain's own TSC.

A guest kernel asks with the forced form, an invalid opcode that names Xen; a plain `cpuid` comes here as well.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp

from xenia.cpu.context cimport RAX, RBX, RCX, RDX
from xenia.cpu.cpuid cimport cpuid_of_processor
from xenia.domain.domain cimport Vcpu
from xenia.domain.pv.instruction cimport EMULATE_DONE, EMULATE_UNHANDLED, Fault, operand_read
from xenia.domain.clock cimport Clock

cdef enum:
    XEN_TIME_LEAF = 0x40000003
    FREQUENCY_LEAF = 0x16


cdef uint32_t tsc_khz(Vcpu *vcpu) noexcept nogil:
    # pvclock's factors turned round: ns = (tsc << shift) * mul_frac >> 32.
    cdef Clock *clock = &vcpu.domain.clock
    cdef uint64_t khz
    if clock == NULL or clock.mul_frac == 0:
        return 0
    khz = (<uint64_t>1000000 << 32) // clock.mul_frac
    return <uint32_t>(khz >> clock.shift if clock.shift >= 0 else khz << -clock.shift)


cdef void cpuid(Vcpu *vcpu) noexcept nogil:
    cdef uint64_t *gpr = vcpu.context.gpr
    cdef uint32_t leaf[4]
    cpuid_of_processor(<uint32_t>gpr[RAX], <uint32_t>gpr[RCX], vcpu.processor.apic_id, leaf)
    # Two leaves tell the frequency of the time-stamp counter, which is the domain's.
    if gpr[RAX] & <uint64_t>0xffffffff == XEN_TIME_LEAF and <uint32_t>gpr[RCX] == 0:
        leaf[2] = tsc_khz(vcpu)
    elif gpr[RAX] & <uint64_t>0xffffffff == FREQUENCY_LEAF:
        leaf[0] = leaf[1] = tsc_khz(vcpu) // 1000
    gpr[RAX] = leaf[0]
    gpr[RBX] = leaf[1]
    gpr[RCX] = leaf[2]
    gpr[RDX] = leaf[3]


cdef int emulate_forced(Vcpu *vcpu) noexcept nogil:
    cdef uint8_t code[7]
    cdef Fault fault
    if operand_read(vcpu, vcpu.context.rip, code, 7, &fault) != EMULATE_DONE:
        return EMULATE_UNHANDLED
    if memcmp(code, b"\x0f\x0bxen\x0f\xa2", 7):
        return EMULATE_UNHANDLED
    cpuid(vcpu)
    vcpu.context.rip += 7
    return EMULATE_DONE
