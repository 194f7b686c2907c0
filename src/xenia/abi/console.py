"""public/io/console.h: the page of the paravirtual console.

Written by scripts/abi.py from console.pxd: do not edit.
"""

from struct import Struct
from typing import Final

XENCONS_INTERFACE: Final = Struct("<1024s2048sIIII")  # in_, out, in_cons, in_prod, out_cons, out_prod
IN_OFFSET: Final = 0
IN_SIZE: Final = 1024
OUT_OFFSET: Final = 1024
OUT_SIZE: Final = 2048
IN_CONS_OFFSET: Final = 3072
IN_PROD_OFFSET: Final = 3076
OUT_CONS_OFFSET: Final = 3080
OUT_PROD_OFFSET: Final = 3084
INTERFACE_SIZE: Final = 3088
