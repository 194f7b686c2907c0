"""Hypercalls about traps, callbacks, stacks, segment bases and debug registers."""

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from xenia.abi.callback cimport (
    CALLBACKF_mask_events, CALLBACKOP_register, CALLBACKOP_unregister, CALLBACKTYPE_event, CALLBACKTYPE_failsafe,
    CALLBACKTYPE_nmi, CALLBACKTYPE_syscall, CALLBACKTYPE_syscall32, CALLBACKTYPE_sysenter,
    callback_register_t, callback_unregister_t,
)
from xenia.abi.errno cimport XEN_EFAULT, XEN_EINVAL, XEN_ENOSYS
from xenia.abi.nmi cimport XENNMI_register_callback, XENNMI_unregister_callback, xennmi_callback_t
from xenia.abi.xen cimport FLAT_RING3_CS64, SEGBASE_FS, SEGBASE_GS_USER, SEGBASE_GS_USER_SEL, trap_info_t
from xenia.cpu.context cimport SREG_FS, SREG_GS, SegmentDescriptor
from xenia.cpu.processor cimport TRAP_NMI, Processor
from xenia.domain.domain cimport Vcpu
from xenia.domain.vcpu_state cimport Callback
from xenia.domain.pv.control cimport debugreg_read, debugreg_write, taskswitch
from xenia.domain.pv.segments cimport data_segment, is_canonical
from xenia.domain.pv.traps cimport hypercall_iret
from xenia.hypercalls.guest cimport from_guest
from xenia.hypercalls.table cimport HYPERCALL_CONTINUE, HYPERCALL_DONE

cdef enum:
    TRAPS_AT_A_TIME = 64    # entries of a trap table between two looks at who waits


# set_trap_table(traps): entries up to one with address 0; NULL clears the whole table.
cdef int64_t do_set_trap_table(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef trap_info_t entry
    cdef int n = 0
    if args[0] == 0:
        memset(vcpu.traps.table, 0, sizeof(vcpu.traps.table))
        return 0
    while True:
        if from_guest(vcpu, &entry, args[0], sizeof(entry)):
            return -XEN_EFAULT
        if entry.address == 0:
            return 0
        if not is_canonical(entry.address):
            return -XEN_EINVAL
        entry.cs |= 3
        vcpu.traps.table[entry.vector] = entry
        args[0] += sizeof(entry)
        n += 1
        if n == TRAPS_AT_A_TIME:
            return HYPERCALL_CONTINUE


cdef int64_t register_callback(Vcpu *vcpu, int kind, int flags, uint64_t address) noexcept nogil:
    cdef Callback *callback
    cdef trap_info_t *trap = &vcpu.traps.table[TRAP_NMI]
    if not is_canonical(address):
        return -XEN_EINVAL
    if kind == CALLBACKTYPE_nmi:
        trap.vector = TRAP_NMI
        trap.flags = 4
        trap.cs = FLAT_RING3_CS64
        trap.address = address
        return 0
    if kind == CALLBACKTYPE_event:
        callback = &vcpu.traps.event_callback
    elif kind == CALLBACKTYPE_failsafe:
        callback = &vcpu.traps.failsafe_callback
    elif kind == CALLBACKTYPE_syscall:
        callback = &vcpu.traps.syscall_callback
    elif kind == CALLBACKTYPE_syscall32:
        callback = &vcpu.traps.syscall32_callback
    elif kind == CALLBACKTYPE_sysenter:
        callback = &vcpu.traps.sysenter_callback
    else:
        return -XEN_ENOSYS
    callback.address = address
    callback.disables_events = flags & CALLBACKF_mask_events != 0
    return 0


cdef void unregister_nmi(Vcpu *vcpu) noexcept nogil:
    memset(&vcpu.traps.table[TRAP_NMI], 0, sizeof(trap_info_t))


# set_callbacks(event, failsafe, syscall): entry points, none of the last two masking events.
cdef int64_t do_set_callbacks(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    register_callback(vcpu, CALLBACKTYPE_event, 0, args[0])
    register_callback(vcpu, CALLBACKTYPE_failsafe, 0, args[1])
    register_callback(vcpu, CALLBACKTYPE_syscall, 0, args[2])
    return 0


# callback_op(cmd, arg)
cdef int64_t do_callback_op(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef callback_register_t registration
    cdef callback_unregister_t removal
    if <uint32_t>args[0] == CALLBACKOP_register:
        if from_guest(vcpu, &registration, args[1], sizeof(registration)):
            return -XEN_EFAULT
        return register_callback(vcpu, registration.type, registration.flags, registration.address)
    if <uint32_t>args[0] == CALLBACKOP_unregister:
        if from_guest(vcpu, &removal, args[1], sizeof(removal)):
            return -XEN_EFAULT
        if removal.type == CALLBACKTYPE_nmi:
            unregister_nmi(vcpu)
            return 0
        if removal.type in (CALLBACKTYPE_event, CALLBACKTYPE_failsafe, CALLBACKTYPE_syscall, CALLBACKTYPE_syscall32,
                            CALLBACKTYPE_sysenter):
            return -XEN_EINVAL
    return -XEN_ENOSYS


# nmi_op(cmd, arg)
cdef int64_t do_nmi_op(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef xennmi_callback_t callback
    if <uint32_t>args[0] == XENNMI_register_callback:
        if from_guest(vcpu, &callback, args[1], sizeof(callback)):
            return -XEN_EFAULT
        return register_callback(vcpu, CALLBACKTYPE_nmi, 0, callback.handler_address)
    if <uint32_t>args[0] == XENNMI_unregister_callback:
        unregister_nmi(vcpu)
        return 0
    return -XEN_ENOSYS


# iret(), its arguments on the kernel stack
cdef int64_t do_iret(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    hypercall_iret(vcpu)
    return HYPERCALL_DONE


# stack_switch(ss, esp)
cdef int64_t do_stack_switch(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    vcpu.traps.kernel_sp = args[1]
    return 0


# fpu_taskswitch(set)
cdef int64_t do_fpu_taskswitch(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    taskswitch(vcpu, <uint32_t>args[0] != 0)
    return 0


# set_debugreg(reg, value)
cdef int64_t do_set_debugreg(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    return debugreg_write(vcpu, <int>args[0], args[1])


# get_debugreg(reg)
cdef int64_t do_get_debugreg(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef uint64_t value
    cdef int error = debugreg_read(vcpu, <int>args[0], &value)
    return error if error else <int64_t>value


# set_segment_base(which, base)
cdef int64_t do_set_segment_base(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef uint32_t which = <uint32_t>args[0]
    cdef Processor *processor = vcpu.processor
    if which == SEGBASE_GS_USER_SEL:
        set_user_gs(vcpu, <uint16_t>args[1])
        return 0
    if which > SEGBASE_GS_USER_SEL or not is_canonical(args[1]):
        return -XEN_EINVAL
    if which == SEGBASE_FS:
        processor.ops.set_segment_base(processor, SREG_FS, args[1])
    elif which == SEGBASE_GS_USER:
        vcpu.control.gs_base_user = args[1]
    else:
        vcpu.control.gs_base_kernel = args[1]
        processor.ops.set_segment_base(processor, SREG_GS, args[1])
    return 0


cdef void set_user_gs(Vcpu *vcpu, uint16_t selector) noexcept nogil:
    # Load %gs and keep its base for user mode; the kernel's base stays in use.  What cannot be loaded loads as null.
    cdef Processor *processor = vcpu.processor
    cdef SegmentDescriptor descriptor
    cdef uint16_t unused
    cdef uint64_t base
    processor.ops.get_segment(processor, SREG_GS, &unused, &base)
    if selector > 3:
        selector |= 3
    if not data_segment(vcpu, selector, &descriptor):
        selector = 0
        memset(&descriptor, 0, sizeof(descriptor))
    processor.ops.set_segment(processor, SREG_GS, selector, &descriptor)
    processor.ops.set_segment_base(processor, SREG_GS, base)
    vcpu.control.gs_base_user = descriptor.base
