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

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp

from xenia.abi.errno cimport XEN_EINVAL, XEN_ENODEV, XEN_EPERM
from xenia.abi.xen cimport HYPERVISOR_VIRT_END, VMASST_TYPE_architectural_iopl
from xenia.cpu.cpuid cimport cpuid_policy
from xenia.cpu.decode cimport MAP_0F, MAP_ONE_BYTE, Instruction, cut
from xenia.cpu.context cimport RAX, RBX, RCX, RDI, RDX, RSI, SREG_ES, Context
from xenia.cpu.processor cimport TRAP_UD
from xenia.cpu.store cimport retire, string_step
from xenia.domain.domain cimport Vcpu
from xenia.domain.pv.instruction cimport (
    EMULATE_DONE, EMULATE_FAULT, EMULATE_UNHANDLED, Fault, instruction_fetch, linear_address, operand_read,
    operand_write,
)
from xenia.domain.pv.msr cimport msr_read, msr_write
from xenia.domain.clock cimport Clock
from xenia.machine.lock cimport lock, unlock
from xenia.mm.access cimport copy_from_guest
from xenia.mm.pv.update cimport new_base_pointer

cdef enum:
    CR0_TS = 1 << 3
    CR4_TSD = 1 << 2
    CR4_DE = 1 << 3
    CR4_FSGSBASE = 1 << 16
    CR4_GUEST = CR4_TSD | CR4_DE | CR4_FSGSBASE     # what a guest may change
    CR4_XEN = 1 << 5 | 1 << 9 | 1 << 10     # PAE OSFXSR OSXMMEXCPT: on, whatever the guest says
    DR6_ZEROES = 1 << 12
    DR7_ONES = 1 << 10
    DR7_ZEROES = 0xd800
    DR7_GD = 1 << 13
    DR7_ENABLED = 0xff
    PCI_ADDRESS = 0xcf8
    CMOS_INDEX = 0x70
    XEN_TIME_LEAF = 0x40000003
    FREQUENCY_LEAF = 0x16

cdef extern from *:
    """
    #define XENIA_CR0 0x80050033ull
    #define XENIA_DR6_ONES 0xffff0ff0ull
    """
    const uint64_t CR0_XEN "XENIA_CR0"      # PG AM WP NE ET MP PE
    const uint64_t DR6_ONES "XENIA_DR6_ONES"


# --- CPUID


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
    cpuid_policy(<uint32_t>gpr[RAX], <uint32_t>gpr[RCX], leaf)
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


# --- control and debug registers


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
        lock(&vcpu.domain.mmu.lock)
        refused = new_base_pointer(&vcpu.domain.mmu, &vcpu.mmu, value >> 12)
        unlock(&vcpu.domain.mmu.lock)
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


# --- ports


cdef bint iopl_allows(Vcpu *vcpu) noexcept nogil:
    cdef int ring = 3
    if vcpu.context.kernel:
        ring = 0 if vcpu.domain.vm_assist & (1 << VMASST_TYPE_architectural_iopl) else 1
    return ring <= vcpu.ports.iopl


cdef bint port_allowed(Vcpu *vcpu, uint32_t port, int size) noexcept nogil:
    cdef uint16_t bits = 0
    if iopl_allows(vcpu):
        return True
    if vcpu.ports.iobmp_va == 0 or port + size > vcpu.ports.iobmp_limit:
        return False
    if bitmap_read(vcpu, vcpu.ports.iobmp_va + (port >> 3), &bits) != 0:
        return False
    return not bits >> (port & 7) & (1 << size) - 1


cdef int bitmap_read(Vcpu *vcpu, uint64_t va, uint16_t *bits) noexcept nogil:
    # The bitmap lies in the guest kernel's memory; its last byte may be the last of a page.
    if copy_from_guest(&vcpu.domain.mmu, vcpu.mmu.root_kernel, bits, va, 2) == 0:
        return 0
    return copy_from_guest(&vcpu.domain.mmu, vcpu.mmu.root_kernel, bits, va, 1)


# As under Xen, no device answers an unprivileged domain: no timer (its domains get none), no speaker gate, no clock.
# What is there are two registers of Xen's own, which keep what is written to them: the PCI configuration address, four
# bytes at once or not at all, and the index of the clock's memory, a byte of whatever access reaches it.


cdef uint32_t port_read(Vcpu *vcpu, uint32_t port, int size) noexcept nogil:
    cdef uint64_t value = <uint64_t>0xffffffff
    cdef uint32_t shift
    if port == PCI_ADDRESS and size == 4:
        return vcpu.ports.pci_cf8
    if port <= CMOS_INDEX < port + size:
        shift = 8 * (CMOS_INDEX - port)
        value = value & ~(<uint64_t>0xff << shift) | <uint64_t>vcpu.ports.cmos_index << shift
    return <uint32_t>cut(value, size)


cdef void port_write(Vcpu *vcpu, uint32_t port, int size, uint32_t value) noexcept nogil:
    if port == PCI_ADDRESS and size == 4:
        vcpu.ports.pci_cf8 = value
    elif port <= CMOS_INDEX < port + size:
        vcpu.ports.cmos_index = <uint8_t>(value >> 8 * (CMOS_INDEX - port))


cdef int port_instruction(Vcpu *vcpu, const Instruction *insn) noexcept nogil:
    # in and out, with an immediate port or %dx.
    cdef Context *context = &vcpu.context
    cdef int size = 1 if not insn.opcode & 1 else 2 if insn.operand_size == 2 else 4
    cdef uint32_t port = <uint32_t>(context.gpr[RDX] if insn.opcode & 8 else insn.immediate & 0xff) & 0xffff
    cdef uint64_t mask
    if not port_allowed(vcpu, port, size):
        return EMULATE_UNHANDLED
    if not insn.opcode & 2:
        if size == 4:
            context.gpr[RAX] = port_read(vcpu, port, size)
        else:
            mask = (<uint64_t>1 << 8 * size) - 1
            context.gpr[RAX] = context.gpr[RAX] & ~mask | port_read(vcpu, port, size)
    else:
        port_write(vcpu, port, size, <uint32_t>context.gpr[RAX])
    retire(insn, context)
    return EMULATE_DONE


cdef int string_port_instruction(Vcpu *vcpu, const Instruction *insn, Fault *fault) noexcept nogil:
    # One round; a repeated one comes back for the next.
    cdef Context *context = &vcpu.context
    cdef int size = 1 if not insn.opcode & 1 else 2 if insn.operand_size == 2 else 4
    cdef bint output = insn.opcode & 2
    cdef uint32_t port = <uint32_t>context.gpr[RDX] & 0xffff
    cdef uint32_t data = 0
    cdef uint64_t va
    if insn.rep and cut(context.gpr[RCX], insn.address_size) == 0:
        retire(insn, context)
        return EMULATE_DONE
    if not port_allowed(vcpu, port, size):
        return EMULATE_UNHANDLED
    if output:
        va = linear_address(vcpu, insn, insn.segment, cut(context.gpr[RSI], insn.address_size))
        if operand_read(vcpu, va, &data, size, fault) != EMULATE_DONE:
            return EMULATE_FAULT
        port_write(vcpu, port, size, data)
    else:
        data = port_read(vcpu, port, size)
        va = linear_address(vcpu, insn, SREG_ES, cut(context.gpr[RDI], insn.address_size))
        if operand_write(vcpu, va, &data, size, fault) != EMULATE_DONE:
            return EMULATE_FAULT
    string_step(insn, context, size, output, not output)
    return EMULATE_DONE


# --- the instruction at rip


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
