"""What of a block device outlives the process; what is in flight is asked again by the frontend that connects anew."""

from __future__ import annotations

from typing import NamedTuple


class VbdState(NamedTuple):
    """Plain data."""

    device: int  # virtual-device
    read_only: bool = False
    cdrom: bool = False
    # The size that the guest was told last.
    size: int = 0
