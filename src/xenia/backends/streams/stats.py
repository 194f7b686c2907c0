"""What a command's streams have done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class StreamsStats:
    """Counters since the streams were made."""

    output_bytes: int = 0  # taken from the guest
    input_bytes: int = 0  # given to it
    notifications: int = 0  # events sent to it
