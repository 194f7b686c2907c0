"""Pages and page-table entries, as the processor has them.

Written by scripts/abi.py from paging.pxd: do not edit.
"""

from typing import Final

PAGE_SHIFT: Final = 12
PAGE_SIZE: Final = 1 << PAGE_SHIFT
PAGE_OFFSET: Final = PAGE_SIZE - 1  # the bits of an address within its page
TABLE_ENTRIES: Final = 512  # of a page table, 8 bytes each
PAGE_PRESENT: Final = 1 << 0
PAGE_RW: Final = 1 << 1
PAGE_USER: Final = 1 << 2
PAGE_PWT: Final = 1 << 3
PAGE_PCD: Final = 1 << 4
PAGE_ACCESSED: Final = 1 << 5
PAGE_DIRTY: Final = 1 << 6
PAGE_PSE: Final = 1 << 7
PAGE_GLOBAL: Final = 1 << 8
PAGE_NX: Final = 1 << 63
LOWER_HALF_END: Final = 1 << 47
UPPER_HALF_START: Final = ~0 << 47 & (1 << 64) - 1
