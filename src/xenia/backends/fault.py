"""What a guest can do to its own device."""

from __future__ import annotations


class RingFault(Exception):
    """The guest's half of a shared ring says what cannot be.  The device serves this ring no more."""


class FrontendFault(Exception):
    """What the frontend published cannot be used.  The text goes to the device's error key."""
