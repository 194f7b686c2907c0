"""What a shared folder has carried."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class P9Stats:
    """Counters since the frontend connected."""

    requests: int = 0  # events by which the guest sent some
    request_bytes: int = 0
    answers: int = 0
    answer_bytes: int = 0
    notifications: int = 0  # events sent to the guest
