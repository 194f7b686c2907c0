"""public/vcpu.h.

Written by scripts/abi.py from vcpu.pxd: do not edit.
"""

from struct import Struct
from typing import Final

VCPUOP_initialise: Final = 0
VCPUOP_up: Final = 1
VCPUOP_down: Final = 2
VCPUOP_is_up: Final = 3
VCPUOP_get_runstate_info: Final = 4
VCPUOP_register_runstate_memory_area: Final = 5
VCPUOP_set_periodic_timer: Final = 6
VCPUOP_stop_periodic_timer: Final = 7
VCPUOP_set_singleshot_timer: Final = 8
VCPUOP_stop_singleshot_timer: Final = 9
VCPUOP_register_vcpu_info: Final = 10
VCPUOP_send_nmi: Final = 11
VCPUOP_get_physid: Final = 12
VCPUOP_register_vcpu_time_memory_area: Final = 13
VCPU_SSHOTTMR_future: Final = 1 << 0
XEN_RUNSTATE_UPDATE: Final = 1 << 63

VCPU_RUNSTATE_INFO: Final = Struct("<i4xQ4Q")  # state, state_entry_time, time
VCPU_SET_PERIODIC_TIMER: Final = Struct("<Q")  # period_ns
VCPU_SET_SINGLESHOT_TIMER: Final = Struct("<QI4x")  # timeout_abs_ns, flags
VCPU_REGISTER_VCPU_INFO: Final = Struct("<QII")  # mfn, offset, rsvd
VCPU_REGISTER_RUNSTATE_MEMORY_AREA: Final = Struct("<Q")  # addr
VCPU_REGISTER_TIME_MEMORY_AREA: Final = Struct("<Q")  # addr
