"""public/callback.h.

Written by scripts/abi.py from callback.pxd: do not edit.
"""

from struct import Struct
from typing import Final

CALLBACKTYPE_event: Final = 0
CALLBACKTYPE_failsafe: Final = 1
CALLBACKTYPE_syscall: Final = 2
CALLBACKTYPE_sysenter_deprecated: Final = 3
CALLBACKTYPE_nmi: Final = 4
CALLBACKTYPE_sysenter: Final = 5
CALLBACKTYPE_syscall32: Final = 7
CALLBACKF_mask_events: Final = 1 << 0
CALLBACKOP_register: Final = 0
CALLBACKOP_unregister: Final = 1

CALLBACK_REGISTER: Final = Struct("<HH4xQ")  # type, flags, address
CALLBACK_UNREGISTER: Final = Struct("<HH")  # type, _unused
