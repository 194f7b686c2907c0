"""Which build of Xenia a process is of: what a client and the daemon say to each other is agreed upon within one."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

_PACKAGE = str(Path(__file__).parents[2])


@cache
def build() -> str:
    """A digest of how long what the interpreter loads is, and since when it is so; as it was when first asked.  Nothing
    is read, for each domain that is made waits for this."""
    import hashlib

    digest = hashlib.sha256()
    for folder, _, names in sorted(os.walk(_PACKAGE)):
        for name in sorted(name for name in names if name.endswith((".py", ".so"))):
            found, path = os.stat(f"{folder}/{name}"), f"{folder[len(_PACKAGE) :]}/{name}"
            digest.update(f"{path} {found.st_size} {found.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]
