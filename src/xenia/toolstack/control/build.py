"""Which build of Xenia a process is of: what a client and the daemon say to each other is agreed upon within one."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parents[2]


@cache
def build() -> str:
    """A digest of what the interpreter reads, and of how long each compiled module is; as it was when first asked."""
    import hashlib

    digest = hashlib.sha256()
    for path in sorted(path for path in _PACKAGE.rglob("*") if path.suffix in (".py", ".so")):
        told = path.read_bytes() if path.suffix == ".py" else str(path.stat().st_size).encode()
        digest.update(f"{path.relative_to(_PACKAGE)} {len(told)} ".encode() + told)
    return digest.hexdigest()[:16]
