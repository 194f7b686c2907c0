"""public/io/9pfs.h: the page that begins a ring of Xen's 9pfs.  The references of the ring's pages follow it.

Written by scripts/abi.py from p9.pxd: do not edit.
"""

from struct import Struct
from typing import Final

XEN_9PFS_DATA_INTF: Final = Struct("<II56sII56sI")  # in_cons, in_prod, pad1, out_cons, out_prod, pad2, ring_order
