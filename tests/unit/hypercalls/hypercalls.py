"""What the hypercall tests share: a guest's way of making them on a StillDomain."""

import struct
from enum import IntEnum

from xenia.testing.still import BASE, StillDomain

ARGUMENT = BASE  # where a structure goes before a call
LIST = BASE + 0x1000  # where a list goes that it points to
UNMAPPED = BASE + 0x100000
HYPERVISOR = 0xFFFF800000000000


class Hypercall(IntEnum):
    """__HYPERVISOR_* of public/xen.h, those the tests make."""

    SCHED_OP_COMPAT = 6
    PLATFORM_OP = 7
    MEMORY_OP = 12
    MULTICALL = 13
    SET_TIMER_OP = 15
    EVENT_CHANNEL_OP_COMPAT = 16
    XEN_VERSION = 17
    CONSOLE_IO = 18
    PHYSDEV_OP_COMPAT = 19
    GRANT_TABLE_OP = 20
    VM_ASSIST = 21
    VCPU_OP = 24
    XSM_OP = 27
    SCHED_OP = 29
    XENOPROF_OP = 31
    EVENT_CHANNEL_OP = 32
    PHYSDEV_OP = 33
    HVM_OP = 34
    SYSCTL = 35
    DOMCTL = 36
    KEXEC_OP = 37
    TMEM_OP = 38
    ARGO_OP = 39
    XENPMU_OP = 40
    DM_OP = 41
    HYPFS_OP = 42


class Errno(IntEnum):
    """XEN_E* of public/errno.h, negated as guests get them."""

    EPERM = -1
    ENOENT = -2
    ESRCH = -3
    ENXIO = -6
    E2BIG = -7
    ENOMEM = -12
    EACCES = -13
    EFAULT = -14
    EBUSY = -16
    EEXIST = -17
    EINVAL = -22
    ENOSPC = -28
    ENOSYS = -38
    ETIME = -62
    EOPNOTSUPP = -95


DOMID_SELF = 0x7FF0


def call(
    domain: StillDomain, number: int, command: int, layout: str, *fields: int | bytes
) -> tuple[int, tuple[int, ...]]:
    """`number(command, &structure)`: the result, and the structure's fields as the hypercall left them."""
    data = struct.pack(layout, *fields)
    domain.write(ARGUMENT, data)
    result = domain.call(number, command, ARGUMENT)
    return result, struct.unpack(layout, domain.read(ARGUMENT, len(data)))
