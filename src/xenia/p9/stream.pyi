"""A connection, and the threads that answer what comes by it.

One thread at a time takes requests, and answers them itself as long as that is quick: what is in the host's memory
needs no other thread to be woken.  Before anything that may take long it gives the taking up (`Session.promote`), and
another goes on with what the client asks meanwhile; so no slow call holds up any other.
"""

from socket import socket

from xenia.p9.session import Session

class Stream:
    """A stream socket, which is its own from now on, of that session."""
    def __init__(self, session: Session, connection: socket) -> None: ...
    def serve(self) -> None:
        """Answer what is asked until the other end has gone, or says what cannot be.  For a thread of its own, of which
        any number may serve one stream, and so many a session."""
        ...
    def close(self) -> None:
        """Take no more: all that serve it return."""
        ...
