"""What goes by, into a pcapng file that can be read while it grows.

A card's stack has one of these at its top, so that what a guest sends is seen before the guard drops it, and costs one
branch while nothing is captured.  An operator's `capture=` puts another one where that word stands.  What goes to who
is at the port is inbound in the file, what is sent outbound.  GSO frames are there whole, and sums that are to be
filled in are not yet there.
"""

from typing import Any

from xenia.machine.lock cimport lock, unlock
from xenia.net.frame cimport Frame
from xenia.net.layer cimport INWARD, OUTWARD, Layer
from xenia.net.layers.recording cimport Claim, Recording
from xenia.net.port cimport Port

from xenia.errors import ConfigError
from xenia.net.layers.words import SNAPLEN


cdef class Capture(Layer):
    """Over a port, of the interface of that name and with that MAC."""

    def __init__(self, Port lower not None, str name="card", str mac="") -> None:
        Layer.__init__(self, lower)
        self.name, self.mac = name, bytes.fromhex(mac.replace(":", ""))

    def close(self) -> None:
        """See Layer.close."""
        self.stop()
        Layer.close(self)

    @property
    def kind(self) -> str:
        """See Layer.kind."""
        return "capture"

    @property
    def capturing(self) -> bool:
        """Whether what goes by is taken: one was started, it has not ended, and its reader has not left."""
        return self.into != NULL and not self.recording.over and not self.recording.is_left()

    def start(self, int descriptor, snaplen: int = SNAPLEN, limit: int | None = None, name: str | None = None) -> None:
        """Capture into `descriptor`, which is the capture's own to close from now on.

        snaplen   bytes that are kept of each frame
        limit     bytes after which it ends; None: none
        name      of the interface; None: the layer's

        ConfigError where one is under way; then the descriptor is the caller's still.
        """
        if self.capturing:
            raise ConfigError(f"{self.name} is being captured already; stop that first")
        self.stop()
        recording = Recording(descriptor, name or self.name, snaplen, limit, self.mac)
        recording.start(self, &self.lock)
        self.recording = recording
        with nogil:
            self.become(<void *>recording)

    def stop(self) -> None:
        """Capture no more; what was is in the file when this returns, unless that takes more than some seconds."""
        if self.into != NULL:
            with nogil:
                self.become(NULL)
            self.recording.stop()

    def counts(self) -> dict[str, Any]:
        """See Layer.counts; and of the capture that is under way, or was last (Recording.counts)."""
        last = {} if self.recording is None else {"capture": self.recording.counts()}
        return {"layer": self.kind, "capturing": self.capturing, **last}

    cdef void become(self, void *into) noexcept nogil:
        lock(&self.lock)
        self.into = into
        self.on = into != NULL
        unlock(&self.lock)

    cdef bint begin(self, Frame *frames, int count, int direction, Claim *claim) noexcept nogil:
        cdef bint begun
        lock(&self.lock)
        begun = self.into != NULL
        if begun:
            (<Recording>self.into).take(frames, count, direction, claim)
            begun = claim.chunk != NULL
        unlock(&self.lock)
        return begun

    cdef int send(self, Frame *frames, int count) noexcept nogil:
        cdef Claim claim
        cdef int taken
        if not self.on or not self.begin(frames, count, OUTWARD, &claim):
            return self.lower.send(frames, count)
        taken = self.lower.send(frames, count)
        (<Recording>claim.recording).settle(&claim, count, taken)
        return taken

    cdef void came(self, Frame *frames, int count) noexcept nogil:
        cdef Claim claim
        if self.on and self.begin(frames, count, INWARD, &claim):
            (<Recording>claim.recording).settle(&claim, count, count)
        self.deliver(frames, count)
