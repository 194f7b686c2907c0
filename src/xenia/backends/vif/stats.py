"""What a network card has done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VifStats:
    """Counters since the card was made.  What is sent, is sent by the guest."""

    sent: int = 0  # frames
    sent_bytes: int = 0
    sent_gso: int = 0  # of those sent, TCP segments that were still to be cut
    sent_blank: int = 0  # of those sent, frames whose checksum was still to be filled in
    sent_errors: int = 0  # chains of requests that were answered with an error
    sent_dropped: int = 0  # frames that the network did not take before the queue was let go
    received: int = 0
    received_bytes: int = 0
    received_gso: int = 0
    received_blank: int = 0
    received_summed: int = 0  # whose checksum was filled in, for a frontend that cannot
    received_cut: int = 0  # segments that were cut, for a frontend that cannot
    received_late: int = 0  # that were kept until the guest had room
    received_dropped: int = 0  # that it had no room for, or cannot take
    received_errors: int = 0  # that a page was not granted for
    filtered: int = 0  # to multicast addresses that the guest did not ask for
    no_carrier: int = 0  # frames of either direction that went nowhere
    batches: int = 0  # times that frames to send were found in a ring
    beside: int = 0  # of these, of large frames, on a thread beside the guest's
    held_up: int = 0  # times that the network took fewer than there were
    limited: int = 0  # times that the rate had them wait
    notifications: int = 0  # events sent to the guest
