"""What an unprivileged domain may take of the store; privileged ones may take what they like."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits per domain.  Xen's own numbers are the defaults."""

    nodes: int = 1000  # nodes a domain owns: ENOSPC
    depth: int = 64  # names in the path of a node that it creates: ENOSPC; ours, for each costs time with every change
    value_size: int = 2048  # bytes of one value: ENOSPC
    permissions: int = 5  # entries in one node's permissions: ENOSPC
    watches: int = 128  # E2BIG
    transactions: int = 10  # open at one time: ENOSPC
    transaction_paths: int = 1024  # paths that a domain's open transactions have touched between them: ENOSPC
    outstanding: int = 20  # replies not yet taken: further requests wait
    events: int = 1024  # watch events not yet taken: further ones of a watch become one on the watch's own path
