"""Privileged instructions of the guest kernel, done in software.

A guest kernel runs outside ring 0, so `mov %cr3`, `wrmsr`, `in` and their like raise #GP(0).  What Xen 4.17 does for it
is done here:

    mov to and from cr0 cr2 cr3 cr4, dr0-dr7; clts          rdmsr wrmsr             rdtsc rdtscp (after CR4.TSD)
    in out ins outs         where the virtual IOPL or the guest's port bitmap allows it; no device is there
    cli sti                 do nothing where the virtual IOPL allows them: the guest's events are masked in vcpu_info
    wbinvd                  does nothing
    cpuid                   by the policy (cpu/cpuid)

Everything else, and all of it but port access in user mode, is a #GP for the guest, hlt and invlpg too: a PV kernel has
hypercalls for these.
"""

from libc.stdint cimport uint32_t, uint64_t

from xenia.cpu.context cimport RAX, RCX, RDX, Context
from xenia.cpu.decode cimport MAP_0F, MAP_ONE_BYTE, Instruction
from xenia.cpu.processor cimport TRAP_UD
from xenia.cpu.store cimport retire
from xenia.domain.domain cimport Vcpu
from xenia.domain.pv.control cimport CR4_DE, control_read, control_write, debugreg_read, debugreg_write, taskswitch
from xenia.domain.pv.cpuid cimport cpuid
from xenia.domain.pv.instruction cimport EMULATE_DONE, EMULATE_FAULT, EMULATE_UNHANDLED, Fault, instruction_fetch
from xenia.domain.pv.msr cimport msr_read, msr_write
from xenia.domain.pv.ports cimport iopl_allows, port_instruction, string_port_instruction


cdef int emulate_privileged(Vcpu *vcpu, Fault *fault) noexcept nogil:
    cdef Context *context = &vcpu.context
    cdef Instruction insn
    if not instruction_fetch(vcpu, &insn) or insn.lock:
        return EMULATE_UNHANDLED
    if insn.map == MAP_ONE_BYTE:
        if insn.opcode & 0xfc == 0xe4 or insn.opcode & 0xfc == 0xec:
            return port_instruction(vcpu, &insn)
        if insn.opcode & 0xfc == 0x6c:
            return string_port_instruction(vcpu, &insn, fault)
        if insn.opcode & 0xfe == 0xfa and iopl_allows(vcpu):
            retire(&insn, context)
            return EMULATE_DONE
        return EMULATE_UNHANDLED
    if insn.map != MAP_0F or not context.kernel and insn.opcode != 0xa2:
        return EMULATE_UNHANDLED
    if not system_instruction(vcpu, &insn, fault):
        return EMULATE_FAULT if fault.vector == TRAP_UD else EMULATE_UNHANDLED
    retire(&insn, context)
    return EMULATE_DONE


cdef bint system_instruction(Vcpu *vcpu, const Instruction *insn, Fault *fault) noexcept nogil:
    cdef uint64_t *gpr = vcpu.context.gpr
    cdef uint64_t value
    fault.vector = 0
    if insn.opcode == 0x06:
        taskswitch(vcpu, False)
    elif insn.opcode == 0x09:
        pass                                    # wbinvd: no cache to write back that a guest could see
    elif insn.opcode == 0x20:
        if not control_read(vcpu, insn.reg, &value):
            return False
        gpr[insn.rm] = value
    elif insn.opcode == 0x22:
        return control_write(vcpu, insn.reg, gpr[insn.rm])
    elif insn.opcode == 0x21 or insn.opcode == 0x23:
        if insn.reg > 7 or (insn.reg == 4 or insn.reg == 5) and vcpu.control.cr4 & CR4_DE != 0:
            fault.vector = TRAP_UD
            fault.error = 0
            fault.address = 0
            return False
        if insn.opcode == 0x23:
            return debugreg_write(vcpu, insn.reg, gpr[insn.rm]) == 0
        return debugreg_read(vcpu, insn.reg, &gpr[insn.rm]) == 0
    elif insn.opcode == 0x30:
        return msr_write(vcpu, <uint32_t>gpr[RCX], <uint32_t>gpr[RAX] | gpr[RDX] << 32)
    elif insn.opcode == 0x32:
        if not msr_read(vcpu, <uint32_t>gpr[RCX], &value):
            return False
        split(gpr, value)
    elif insn.opcode == 0x31 or insn.opcode == 0x01 and insn.modrm == 0xf9:
        split(gpr, vcpu.processor.ops.read_tsc(vcpu.processor))
        if insn.opcode == 0x01:
            gpr[RCX] = vcpu.control.tsc_aux
    elif insn.opcode == 0xa2:
        cpuid(vcpu)
    else:
        return False
    return True


cdef inline void split(uint64_t *gpr, uint64_t value) noexcept nogil:
    gpr[RAX] = value & <uint64_t>0xffffffff
    gpr[RDX] = value >> 32
