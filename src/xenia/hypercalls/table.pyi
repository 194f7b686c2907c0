"""The hypercall table: dispatch, multicall, and what docs/hypercalls.md is generated from.

A row is Supported (all of it that a PV domain may use), Partial (the note says what is missing) or
Refused (the note says what Xen answers an ordinary domain).  A number without a row is -XEN_ENOSYS.

A continuation is Xen's: the handler leaves its arguments at what remains to be done, they go back into the registers,
and rip goes back over the `syscall`, so that the guest makes the same call again after whatever interrupted it.
"""

from xenia.hypercalls.rows import Row

def rows() -> list[Row]:
    """Every hypercall that is answered, by number."""
    ...
