"""I/O ports as a PV guest sees them: in, out, ins, outs, where the virtual IOPL or the guest's port bitmap allows it.

As under Xen, no device answers an unprivileged domain: no timer (its domains get none), no speaker gate, no clock.
What is there are two registers of Xen's own, which keep what is written to them: the PCI configuration address, four
bytes at once or not at all, and the index of the clock's memory, a byte of whatever access reaches it.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from xenia.cpu.context cimport RAX, RCX, RDI, RDX, RSI, SREG_ES, Context
from xenia.cpu.decode cimport Instruction, cut
from xenia.cpu.store cimport retire, string_step
from xenia.domain.domain cimport Vcpu
from xenia.domain.pv.instruction cimport (
    EMULATE_DONE, EMULATE_FAULT, EMULATE_UNHANDLED, Fault, linear_address, operand_read, operand_write,
)
from xenia.domain.pv.mode cimport virtual_ring
from xenia.mm.access cimport copy_from_guest

cdef enum:
    PCI_ADDRESS = 0xcf8
    CMOS_INDEX = 0x70


cdef bint iopl_allows(Vcpu *vcpu) noexcept nogil:
    return virtual_ring(vcpu) <= vcpu.ports.iopl


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
    if copy_from_guest(&vcpu.domain.memory, vcpu.mmu.root_kernel, bits, va, 2) == 0:
        return 0
    return copy_from_guest(&vcpu.domain.memory, vcpu.mmu.root_kernel, bits, va, 1)


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
