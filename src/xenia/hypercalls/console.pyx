"""console_io (public/xen.h): the emergency console, for what a guest has to say before its console ring works.

Bytes go to Domain.emergency_fd, the writing end of a pipe that does not block; whoever owns the other end drains it.  A full pipe
drops: a guest must not be able to stop its hypervisor by talking.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from posix.unistd cimport write
from xenia.abi.errno cimport XEN_EFAULT, XEN_ENOSYS
from xenia.abi.xen cimport CONSOLEIO_read, CONSOLEIO_write
from xenia.domain.domain cimport Vcpu
from xenia.hypercalls.guest cimport from_guest
from xenia.hypercalls.table cimport HYPERCALL_CONTINUE

cdef int64_t console_write(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef char chunk[512]
    cdef uint32_t count = <uint32_t>args[1]
    cdef uint32_t length
    while count:
        length = min(count, <uint32_t>sizeof(chunk))
        if from_guest(vcpu, chunk, args[2], length):
            return -XEN_EFAULT
        if vcpu.domain.emergency_fd > 0:
            write(vcpu.domain.emergency_fd, chunk, length)
        count -= length
        args[1] = count
        args[2] += length
        if count and vcpu.domain.preempt:
            return HYPERCALL_CONTINUE
    return 0

cdef int64_t do_console_io(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef uint32_t cmd = <uint32_t>args[0]
    if cmd == CONSOLEIO_write:
        return console_write(vcpu, args)
    return 0 if cmd == CONSOLEIO_read else -XEN_ENOSYS      # nobody types there
