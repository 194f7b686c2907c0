"""What of a device on the bus outlives the process that serves it; its keys are the store's."""

from __future__ import annotations

from dataclasses import dataclass

from xenia.persist import State


@dataclass(frozen=True)
class AttachmentState(State):
    """A device between two steps of its handshake."""

    kind: str
    domid: int
    device: int
    backend_domid: int
    state: int  # XenbusState of the backend's end
    connected: bool  # the backend serves what the frontend published
    complained: bool
