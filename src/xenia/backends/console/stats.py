"""What a console has done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class ConsoleStats:
    """Counters since the console was made."""

    output_bytes: int = 0  # from the guest's ring
    input_bytes: int = 0  # into the guest's ring
    batches: int = 0  # times that output was found in the ring
    notifications: int = 0  # events sent to the guest
    emergency_bytes: int = 0  # of CONSOLEIO_write
    discarded_bytes: int = 0  # output that nobody could take
