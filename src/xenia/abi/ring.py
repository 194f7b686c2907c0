"""public/io/ring.h: the head of a shared ring; its entries follow, each as large as the larger of request and response.

Written by scripts/abi.py from ring.pxd: do not edit.
"""

from struct import Struct
from typing import Final

SRING: Final = Struct("<IIII4s44s")  # req_prod, req_event, rsp_prod, rsp_event, pvt, _pad
