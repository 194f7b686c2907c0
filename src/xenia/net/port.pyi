"""Ports: where frames enter and leave a network.

A port has two sides.  Whoever is at it (a guest's card, a bridge, a layer) sends frames into it, and is given those
that come out of it.  What lies behind is the subclass: a link to the host or elsewhere, a bridge's port, a layer over
another port.  Whoever attached itself is told by no lock but by a count of the calls under way, so that ports may be
chained in any order, and nothing is held while frames are delivered but what the sender holds itself.
"""

class Port:
    """A port with nothing behind it: what is sent is taken, and gone."""
    def __init__(self) -> None: ...
    def close(self) -> None:
        """Let go of what lies behind.  Again does nothing.  Precondition: nobody is at the port."""
        ...
