"""console_io (public/xen.h): what a guest has to say to the hypervisor, and all that it can say before its console ring
works.

Bytes go to Domain.emergency_fd, and from the moment that the guest has written to its ring to Domain.log_fd: the
writing ends of pipes that do not block; whoever owns the other ends drains them.  A full pipe drops: a guest must not
be able to stop its hypervisor by talking.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t
from posix.unistd cimport write
from xenia.abi.errno cimport XEN_EFAULT, XEN_ENOSYS
from xenia.abi.xen cimport CONSOLEIO_read, CONSOLEIO_write
from xenia.domain.domain cimport Domain, StartRings, Vcpu
from xenia.hypercalls.guest cimport from_guest
from xenia.hypercalls.table cimport HYPERCALL_CONTINUE

cdef enum:
    OUT_PROD = 3084         # in struct xencons_interface of public/io/console.h


# Where the bytes go.  The guest's word for whether it has used its ring is taken once, when it first says so.
cdef int destination(Domain *domain) noexcept nogil:
    cdef StartRings *rings = &domain.rings
    if not rings.console_used and rings.console_mfn:
        rings.console_used = (<uint32_t *>(domain.machine.base + (rings.console_mfn << 12) + OUT_PROD))[0] != 0
    return domain.links.log_fd if rings.console_used else domain.links.emergency_fd


cdef int64_t console_write(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef char chunk[512]
    cdef uint32_t count = <uint32_t>args[1]
    cdef uint32_t length
    cdef int fd
    while count:
        length = min(count, <uint32_t>sizeof(chunk))
        if from_guest(vcpu, chunk, args[2], length):
            return -XEN_EFAULT
        fd = destination(vcpu.domain)
        if fd > 0:
            write(fd, chunk, length)
        count -= length
        args[1] = count
        args[2] += length
        if count and vcpu.preempt:
            return HYPERCALL_CONTINUE
    return 0


cdef int64_t do_console_io(Vcpu *vcpu, uint64_t *args) noexcept nogil:
    cdef uint32_t cmd = <uint32_t>args[0]
    if cmd == CONSOLEIO_write:
        return console_write(vcpu, args)
    return 0 if cmd == CONSOLEIO_read else -XEN_ENOSYS      # nobody types there
