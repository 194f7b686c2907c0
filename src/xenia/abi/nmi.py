"""public/nmi.h.

Written by scripts/abi.py from nmi.pxd: do not edit.
"""

from struct import Struct
from typing import Final

XENNMI_register_callback: Final = 0
XENNMI_unregister_callback: Final = 1

XENNMI_CALLBACK: Final = Struct("<QQ")  # handler_address, pad
