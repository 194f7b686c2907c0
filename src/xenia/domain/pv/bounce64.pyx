"""Bounce frames of a 64-bit guest kernel: how it is entered at one of its entry points, and how `iret` leaves it.

A frame, upwards from the new stack pointer:

    rcx, r11, [error code], rip, cs, rflags, rsp, ss

r11 and rcx are there so that a handler may be entered with `sysret`.  The cs word holds the upcall mask as it was in
bits 32 to 39; its RPL is 0 when the kernel itself was interrupted.  The processor's own IF and IOPL never reach the
guest: the frame shows IF as the inverse of vcpu_info.evtchn_upcall_mask and IOPL as the guest last set it, and `iret`
puts both back where they came from.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from xenia.abi.xen cimport (
    FLAT_RING3_CS32, FLAT_RING3_CS64, FLAT_RING3_SS, VGCF_in_syscall, VMASST_TYPE_architectural_iopl, iret_context_t,
    vcpu_info_t,
)
from xenia.cpu.context cimport (
    CONTEXT_FLAGS, CONTEXT_SEGMENTS, EFLAGS_AC, EFLAGS_GUEST, EFLAGS_IF, EFLAGS_IOPL, EFLAGS_NT, EFLAGS_RF, EFLAGS_TF,
    EFLAGS_VM, R11, RAX, RCX, RSP, Context,
)
from xenia.cpu.processor cimport LEAVE, RESUME
from xenia.domain.domain cimport Vcpu
from xenia.domain.lifecycle cimport domain_crash
from xenia.domain.pv.mode cimport switch_mode
from xenia.domain.pv.segments cimport iret_fault, is_canonical
from xenia.mm.access cimport copy_from_guest, copy_to_guest


cdef int bounce64(Vcpu *vcpu, uint64_t handler, int how, uint32_t error) noexcept nogil:
    cdef Context *context = &vcpu.context
    cdef vcpu_info_t *info = vcpu.info
    cdef uint64_t frame[8]
    cdef uint64_t stack, cs, rflags
    cdef uint8_t masked
    cdef bint was_kernel = context.kernel
    cdef int n = 2
    if handler == 0:
        domain_crash(vcpu.domain, b"a trap or callback for which the guest has no handler")
        return LEAVE
    if context.kernel:
        stack = context.gpr[RSP]
        cs = context.cs & 0xfffc
    else:
        switch_mode(vcpu, True)
        stack = vcpu.traps.kernel_sp
        cs = context.cs
    stack &= ~<uint64_t>15
    masked = info.evtchn_upcall_mask
    if how & BOUNCE_MASK_EVENTS:
        info.evtchn_upcall_mask = masked | 1
    rflags = context.rflags & ~<uint64_t>(EFLAGS_IF | EFLAGS_IOPL)
    if not masked:
        rflags |= EFLAGS_IF
    if vcpu.domain.vm_assist & (1 << VMASST_TYPE_architectural_iopl):
        rflags |= <uint64_t>vcpu.ports.iopl << 12

    frame[0] = context.gpr[RCX]
    frame[1] = context.gpr[R11]
    if how & BOUNCE_ERROR_CODE:
        frame[n] = error
        n += 1
    frame[n] = context.rip
    frame[n + 1] = cs | <uint64_t>masked << 32
    frame[n + 2] = rflags
    frame[n + 3] = context.gpr[RSP]
    # Ring 1 may load a null %ss, ring 3, where a kernel believes itself to be, may not, and could not go back to it.
    frame[n + 4] = context.ss if context.ss > 3 or not was_kernel else FLAT_RING3_SS
    n += 5

    stack -= 8 * n
    if copy_to_guest(&vcpu.domain.memory, vcpu.mmu.root_kernel, stack, frame, 8 * n):
        domain_crash(vcpu.domain, b"double fault: the guest's kernel stack cannot take a bounce frame")
        return LEAVE
    context.gpr[RSP] = stack
    context.rip = handler
    if context.cs != FLAT_RING3_CS64 or context.ss != FLAT_RING3_SS:
        context.cs = FLAT_RING3_CS64
        context.ss = FLAT_RING3_SS
        context.dirty |= CONTEXT_SEGMENTS
    if context.rflags & (EFLAGS_TF | EFLAGS_NT | EFLAGS_RF | EFLAGS_VM | EFLAGS_AC):
        context.rflags &= ~<uint64_t>(EFLAGS_TF | EFLAGS_NT | EFLAGS_RF | EFLAGS_VM | EFLAGS_AC)
        context.dirty |= CONTEXT_FLAGS
    return RESUME


cdef int iret64(Vcpu *vcpu, uint32_t *error) noexcept nogil:
    cdef Context *context = &vcpu.context
    cdef iret_context_t frame
    if copy_from_guest(&vcpu.domain.memory, vcpu.mmu.root_kernel, &frame, context.gpr[RSP], sizeof(frame)):
        domain_crash(vcpu.domain, b"iret: the frame on the guest's kernel stack cannot be read")
        return IRET_CRASHED
    if frame.cs & 3 == 3:
        if vcpu.mmu.root_user == 0:
            domain_crash(vcpu.domain, b"iret to user mode without user page tables")
            return IRET_CRASHED
        switch_mode(vcpu, False)
    if vcpu.domain.vm_assist & (1 << VMASST_TYPE_architectural_iopl):
        vcpu.ports.iopl = frame.rflags >> 12 & 3
    context.gpr[RAX] = frame.rax
    context.gpr[RSP] = frame.rsp
    context.rip = frame.rip
    context.rflags = frame.rflags & EFLAGS_GUEST | EFLAGS_IF | 2
    context.cs = <uint16_t>frame.cs | 3
    context.ss = <uint16_t>frame.ss | 3
    context.dirty |= CONTEXT_FLAGS | CONTEXT_SEGMENTS
    vcpu.info.evtchn_upcall_mask = not frame.rflags & EFLAGS_IF
    vcpu.traps.nmi_masked = False
    if frame.flags & VGCF_in_syscall:           # leave with sysret, as the call came with syscall
        context.gpr[RCX] = context.rip
        context.gpr[R11] = context.rflags
        if is_canonical(context.rip):
            if context.cs != FLAT_RING3_CS32:
                context.cs = FLAT_RING3_CS64
            context.ss = FLAT_RING3_SS
            context.rflags &= ~<uint64_t>EFLAGS_RF
            return 0
    else:
        context.gpr[RCX] = frame.rcx
        context.gpr[R11] = frame.r11
    # What the processor cannot load is the guest's fault, at the place it wanted to go to.
    return iret_fault(vcpu, error)
