"""public/sched.h.

Written by scripts/abi.py from sched.pxd: do not edit.
"""

from struct import Struct
from typing import Final

SCHEDOP_yield: Final = 0
SCHEDOP_block: Final = 1
SCHEDOP_shutdown: Final = 2
SCHEDOP_poll: Final = 3
SCHEDOP_remote_shutdown: Final = 4
SCHEDOP_shutdown_code: Final = 5
SCHEDOP_watchdog: Final = 6
SCHEDOP_pin_override: Final = 7

SCHED_SHUTDOWN: Final = Struct("<I")  # reason
SCHED_POLL: Final = Struct("<QI4xQ")  # ports, nr_ports, timeout
SCHED_REMOTE_SHUTDOWN: Final = Struct("<HxxI")  # domain_id, reason
SCHED_WATCHDOG: Final = Struct("<II")  # id, timeout
SCHED_PIN_OVERRIDE: Final = Struct("<i")  # pcpu
