"""libslirp, loaded when a network first needs it: from the host, or from files that were fetched.

It is BSD licensed and nothing of it is built in: what is called is looked up by name, and the structures are ours
(slirp.pxd).
"""

from collections.abc import Sequence

NAME: str

def load(libraries: Sequence[str] = ...) -> str:
    """Load libslirp, where it is not loaded yet; its version.

    libraries   files that are loaded in this order, the last one libslirp; none: the host's own
    ConfigError where it cannot be had, or is too old.
    """
    ...

def is_there() -> bool:
    """Whether the host has one of its own that can be loaded."""
    ...
