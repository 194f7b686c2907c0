# I/O ports as a PV guest sees them.
from xenia.cpu.decode cimport Instruction
from xenia.domain.domain cimport Vcpu
from xenia.domain.pv.instruction cimport Fault

cdef bint iopl_allows(Vcpu *vcpu) noexcept nogil        # in, out, cli, sti
# in and out; ins and outs, one round.  EMULATE_*
cdef int port_instruction(Vcpu *vcpu, const Instruction *insn) noexcept nogil
cdef int string_port_instruction(Vcpu *vcpu, const Instruction *insn, Fault *fault) noexcept nogil
