"""public/event_channel.h.

Written by scripts/abi.py from event_channel.pxd: do not edit.
"""

from struct import Struct
from typing import Final

EVTCHNOP_bind_interdomain: Final = 0
EVTCHNOP_bind_virq: Final = 1
EVTCHNOP_bind_pirq: Final = 2
EVTCHNOP_close: Final = 3
EVTCHNOP_send: Final = 4
EVTCHNOP_status: Final = 5
EVTCHNOP_alloc_unbound: Final = 6
EVTCHNOP_bind_ipi: Final = 7
EVTCHNOP_bind_vcpu: Final = 8
EVTCHNOP_unmask: Final = 9
EVTCHNOP_reset: Final = 10
EVTCHNOP_init_control: Final = 11
EVTCHNOP_expand_array: Final = 12
EVTCHNOP_set_priority: Final = 13
EVTCHNSTAT_closed: Final = 0
EVTCHNSTAT_unbound: Final = 1
EVTCHNSTAT_interdomain: Final = 2
EVTCHNSTAT_pirq: Final = 3
EVTCHNSTAT_virq: Final = 4
EVTCHNSTAT_ipi: Final = 5
EVTCHN_FIFO_PRIORITY_DEFAULT: Final = 7
EVTCHN_FIFO_PRIORITY_MIN: Final = 15
EVTCHN_FIFO_MAX_QUEUES: Final = 16
EVTCHN_FIFO_PENDING: Final = 31  # bits of an event word; below them the link
EVTCHN_FIFO_MASKED: Final = 30
EVTCHN_FIFO_LINKED: Final = 29
EVTCHN_FIFO_BUSY: Final = 28
EVTCHN_FIFO_LINK_BITS: Final = 17
EVTCHN_FIFO_LINK_MASK: Final = 0x1FFFF
EVTCHN_FIFO_NR_CHANNELS: Final = 1 << 17

EVTCHN_ALLOC_UNBOUND: Final = Struct("<HHI")  # dom, remote_dom, port
EVTCHN_BIND_INTERDOMAIN: Final = Struct("<HxxII")  # remote_dom, remote_port, local_port
EVTCHN_BIND_VIRQ: Final = Struct("<III")  # virq, vcpu, port
EVTCHN_BIND_PIRQ: Final = Struct("<III")  # pirq, flags, port
EVTCHN_BIND_IPI: Final = Struct("<II")  # vcpu, port
EVTCHN_CLOSE: Final = Struct("<I")  # port
EVTCHN_SEND: Final = Struct("<I")  # port
EVTCHN_STATUS_INTERDOMAIN: Final = Struct("<HxxI")  # dom, port
EVTCHN_STATUS: Final = Struct("<HxxIII8s")  # dom, port, status, vcpu, u
EVTCHN_BIND_VCPU: Final = Struct("<II")  # port, vcpu
EVTCHN_UNMASK: Final = Struct("<I")  # port
EVTCHN_RESET: Final = Struct("<H")  # dom
EVTCHN_INIT_CONTROL: Final = Struct("<QIIB7s")  # control_gfn, offset, vcpu, link_bits, _pad
EVTCHN_EXPAND_ARRAY: Final = Struct("<Q")  # array_gfn
EVTCHN_SET_PRIORITY: Final = Struct("<II")  # port, priority
EVTCHN_FIFO_CONTROL_BLOCK: Final = Struct("<II16I")  # ready, _rsvd, head
