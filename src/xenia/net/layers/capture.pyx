"""What goes by a card, into a file."""

from xenia.net.layer cimport Layer
from xenia.net.port cimport Port


cdef class Capture(Layer):
    """Over a port; while nothing is captured it costs one branch."""

    def __init__(self, Port lower not None) -> None:
        Layer.__init__(self, lower)

    @property
    def kind(self) -> str:
        """See Layer.kind."""
        return "capture"
