"""What goes by a card, into a file."""

from xenia.net.layer import Layer
from xenia.net.port import Port

class Capture(Layer):
    """Over a port; while nothing is captured it costs one branch."""
    def __init__(self, lower: Port) -> None: ...
    @property
    def kind(self) -> str:
        """See Layer.kind."""
        ...
