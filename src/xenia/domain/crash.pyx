"""What a crashed domain leaves for the log: registers, code, stack, and how its page tables lead to rip and cr2."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from xenia.cpu.context cimport RSP, SREG_DS, SREG_ES, SREG_FS, SREG_GS
from xenia.domain.domain cimport Domain, Vcpu
from xenia.mm.access cimport guest_walk
from xenia.mm.memory cimport DomainMemory
from xenia.mm.walk cimport Walk, walk_index, walk_start, walk_step

cdef enum:
    CODE_BEFORE = 16        # bytes
    CODE_AFTER = 16
    STACK_WORDS = 64
    WORDS_A_LINE = 4

_NAMES = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15")
_ROWS = (("rax", "rbx", "rcx"), ("rdx", "rsi", "rdi"), ("rbp", "r8", "r9"), ("r10", "r11", "r12"),
         ("r13", "r14", "r15"))


cdef list crash_report(Domain *domain):
    lines = [f"Domain {domain.domid} crashed: {domain.life.crash_reason.decode('utf-8', 'replace')}"]
    for i in range(domain.nr_vcpus):
        if domain.nr_vcpus > 1:
            lines.append(f"vcpu {i}:" if domain.vcpus[<int>i].initialised else f"vcpu {i} was never brought up")
            if not domain.vcpus[<int>i].initialised:
                continue
        lines += vcpu_report(domain.vcpus[<int>i])
    return lines


cdef list vcpu_report(Vcpu *vcpu):
    gpr = {name: vcpu.context.gpr[i] for i, name in enumerate(_NAMES)}
    lines = [
        f"rip {vcpu.context.cs:04x}:{vcpu.context.rip:016x}   rsp {vcpu.context.ss:04x}:{gpr['rsp']:016x}   "
        f"rflags {vcpu.context.rflags:016x}   {'kernel' if vcpu.context.kernel else 'user'} mode",
    ]
    lines += ["   ".join(f"{name:3} {gpr[name]:016x}" for name in row) for row in _ROWS]
    lines.append(f"cr0 {vcpu.control.cr0:016x}   cr2 {vcpu.control.cr2:016x}   cr3 {vcpu.mmu.root_loaded << 12:016x}   "
                 f"cr4 {vcpu.control.cr4:016x}")
    lines.append(segments(vcpu))
    lines.append(f"events {'masked' if vcpu.info != NULL and vcpu.info.evtchn_upcall_mask else 'open'}, "
                 f"kernel stack {vcpu.traps.kernel_sp:016x}, user gs_base {vcpu.control.gs_base_user:016x}")
    lines.append("code " + code(vcpu))
    lines += stack(vcpu)
    lines += walk(vcpu, "rip", vcpu.context.rip)
    if vcpu.control.cr2:
        lines += walk(vcpu, "cr2", vcpu.control.cr2)
    return lines


cdef segments(Vcpu *vcpu):
    cdef uint16_t selector
    cdef uint64_t base
    words = []
    for name, sreg in (("ds", SREG_DS), ("es", SREG_ES), ("fs", SREG_FS), ("gs", SREG_GS)):
        vcpu.processor.ops.get_segment(vcpu.processor, sreg, &selector, &base)
        words.append(f"{name} {selector:04x}" + (f" base {base:016x}" if sreg >= SREG_FS else ""))
    return "   ".join(words)


cdef const uint8_t *look(Vcpu *vcpu, uint64_t va):
    # The byte at `va`, NULL where there is none.
    cdef uint64_t maddr
    cdef uint32_t error
    if guest_walk(&vcpu.domain.memory, vcpu.mmu.root_loaded, va, 0, &maddr, &error):
        return NULL
    return vcpu.domain.machine.base + maddr


cdef code(Vcpu *vcpu):
    # The instruction at rip begins with <.
    cdef const uint8_t *byte
    cdef uint64_t va
    cdef int i
    words = []
    for i in range(-CODE_BEFORE, CODE_AFTER):
        va = vcpu.context.rip + i
        byte = look(vcpu, va)
        words.append(("<" if i == 0 else "") + (f"{byte[0]:02x}" if byte != NULL else "??"))
    return " ".join(words)


cdef list stack(Vcpu *vcpu):
    cdef const uint8_t *place
    cdef uint64_t va = vcpu.context.gpr[RSP] & ~<uint64_t>7
    lines = []
    line = []
    for _ in range(STACK_WORDS):
        place = look(vcpu, va)
        if place == NULL:
            break
        line.append(f"{(<const uint64_t *>place)[0]:016x}")
        va += 8
        if len(line) == WORDS_A_LINE:
            lines.append("stack " + " ".join(line))
            line = []
    if line:
        lines.append("stack " + " ".join(line))
    return lines or [f"stack: nothing is mapped at {va:016x}"]


cdef list walk(Vcpu *vcpu, str what, uint64_t va):
    cdef DomainMemory *memory = &vcpu.domain.memory
    cdef Walk cursor
    cdef bint further = True
    lines = [f"page tables of {what} {va:016x}:"]
    walk_start(&cursor, memory.machine, vcpu.mmu.root_loaded, memory.levels, va)
    while further and cursor.level:
        level = cursor.level
        further = walk_step(&cursor)
        if cursor.entry == NULL:
            break
        lines.append(f"  L{level}[{walk_index(va, level):3}] = {cursor.pte:016x}")
    return lines
