"""Whom the host itself spoke to over UDP: a guest may answer, and so reaches ports of the host that it may not else.

Somebody on the host sends to a forwarded port; the guest's answer goes to a port of the host's that nobody named.  TCP
needs no such memory: only a SYN begins something.
"""

class Invitations:
    """The latest ones."""
    def __init__(self) -> None: ...
