"""Fragments of guests' IPv4 datagrams, put together before anything else is done with them (RFC 791, 3.2).

So a datagram is judged and counted by its ports whatever it came in, and what is begun and never ended stays bounded:
libslirp keeps fragments without end, and looks through all of them for each one that comes.  Of one guest sixteen
datagrams are kept, of all 64, for 30 s; who begins more loses its own oldest one.  One whose fragments overlap is
dropped, as in IPv6 (RFC 8200, 4.5).
"""

class Fragments:
    """Those of one network."""
