"""public/io/console.h: struct xencons_interface, the page of the paravirtual console."""

from __future__ import annotations

from typing import Final

IN_OFFSET: Final = 0
IN_SIZE: Final = 1024
OUT_OFFSET: Final = 1024
OUT_SIZE: Final = 2048
IN_CONS_OFFSET: Final = 3072
IN_PROD_OFFSET: Final = 3076
OUT_CONS_OFFSET: Final = 3080
OUT_PROD_OFFSET: Final = 3084
INTERFACE_SIZE: Final = 3088
