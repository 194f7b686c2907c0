"""The two ends of a shared request ring (public/io/ring.h).

One ring carries requests one way and responses the other, in the same entries: a response lies where an answered
request lay.  The front end owns a request until it is pushed, the back end until its response is.  Indices count for
ever and wrap at 2^32; an entry is the index modulo the ring's size, a power of two.

Each end tells the other in `req_event` or `rsp_event` at which index it wants to be notified, and pushing answers
whether that index was passed.  An end that is about to wait sets it, and must then look once more, for the other may
have pushed before it could see the wish; `rest` does both.

Each end believes only its own indices, which it keeps to itself, and checks the other's against them whenever it loads
it: there can be neither more requests than free entries nor more responses than requests.  So a hostile peer makes no
end loop, read outside of the ring, or answer twice.  Entries are copied out once; who takes one checks the copy.
"""

from typing_extensions import Buffer

class _End:
    """What both ends have: the pages, taking all there is, and going to rest."""
    def close(self) -> None:
        """Let go of the pages.  Nothing else may be called afterwards."""
        ...
    def take(self) -> list[bytes]:
        """Copies of all that the other end has pushed and was not taken yet.  Raises RingFault."""
        ...
    def rest(self) -> bool:
        """Ask to be notified of what comes next; answers whether something came meanwhile, so that there is no rest
        yet.

        Raises RingFault.
        """
        ...

class Back(_End):
    """The back end: takes requests, puts responses.

    pages       the shared pages, writable and contiguous
    entry_size  bytes of the larger of request and response
    start       index to go on from, where a ring outlived its former back end
    """
    def __init__(self, pages: Buffer, entry_size: int, start: int = 0) -> None: ...
    @property
    def nr_entries(self) -> int:
        """How many requests the ring holds."""
        ...
    @property
    def owed(self) -> int:
        """Requests taken whose response was not put."""
        ...
    def put(self, response: bytes) -> None:
        """Put the response to a request that was taken.  It is published by `push`."""
        ...
    def push(self) -> bool:
        """Publish the responses put so far; answers whether to notify the front end."""
        ...

class Front(_End):
    """The front end: makes the ring, puts requests, takes responses.  The arguments are those of Back."""
    def __init__(self, pages: Buffer, entry_size: int) -> None: ...
    @property
    def nr_entries(self) -> int:
        """How many requests the ring holds."""
        ...
    @property
    def free(self) -> int:
        """How many more requests may be put now."""
        ...
    def put(self, request: bytes) -> None:
        """Put a request.  It is published by `push`.  Precondition: one is free."""
        ...
    def push(self) -> bool:
        """Publish the requests put so far; answers whether to notify the back end."""
        ...
