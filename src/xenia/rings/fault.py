"""What a guest can do to its own ring."""

from __future__ import annotations


class RingFault(Exception):
    """The guest's half of a shared ring says what cannot be.  The device serves this ring no more."""
