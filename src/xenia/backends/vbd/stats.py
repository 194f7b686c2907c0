"""What a block device has done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VbdStats:
    """Counters since the device was made."""

    requests: int = 0
    batches: int = 0  # times that requests were found in a ring
    merged: int = 0  # requests that went with the one before them, in one call to the host
    reads: int = 0
    writes: int = 0
    flushes: int = 0
    discards: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    bytes_written_out: int = 0  # that the host was asked to write out before the next flush
    errors: int = 0  # requests that were not answered with OKAY
    waited: int = 0  # requests that were left to a thread that may wait
    notifications: int = 0  # events sent to the guest
