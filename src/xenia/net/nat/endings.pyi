"""Connections that both ends have closed, so that libslirp lets their sockets go at once.

Where the world closes first, libslirp is who waits twice the longest life of a segment (RFC 9293, 3.6), 10 s with
a socket of the host's for each connection: some hundred connections a second would fill a guest's share.  Nothing of
old segments is to be feared between it and a guest, so once each end has acknowledged the other's FIN, it is told by a
reset that the wait is over.  The guest sees nothing of that.
"""

class Endings:
    """Those that one end has closed."""
    def __init__(self) -> None: ...
