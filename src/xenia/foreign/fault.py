"""What a guest can do to its own device."""

from __future__ import annotations


class FrontendFault(Exception):
    """What the frontend published cannot be used.  The text goes to the device's error key."""
