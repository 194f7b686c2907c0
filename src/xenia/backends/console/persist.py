"""What of a console outlives the process; the ring itself is the guest's memory and travels with it."""

from __future__ import annotations

from typing import NamedTuple


class ConsoleState(NamedTuple):
    """Plain data."""

    # Input that the guest's ring had no room for yet.
    pending_input: bytes = b""
    # Output taken from the ring that the sink had no room for yet.
    pending_output: bytes = b""
