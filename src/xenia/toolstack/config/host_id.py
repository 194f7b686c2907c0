"""What tells this host from others on its network, so that two hosts' guests of one name do not have one address."""

from __future__ import annotations

import os
import secrets
from functools import cache
from pathlib import Path

_MACHINE_ID = Path("/etc/machine-id")  # machine-id(5): not to be shown as it is, so it is hashed before it is used


@cache
def host_id() -> str:
    """Always the same here: the host's own machine-id, or else one that is drawn once and kept for this user."""
    return _read(_MACHINE_ID) or _kept(_state() / "host-id")


def _kept(path: Path) -> str:
    """What a file holds; it is made where there is none.  Where it cannot be kept, another one for each process."""
    drawn = secrets.token_hex(16)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        own = path.with_name(f"{path.name}.{os.getpid()}")
        own.write_text(drawn + "\n")
        try:
            os.link(own, path)  # of two at once, one is first
        except FileExistsError:
            return _read(path) or drawn
        finally:
            own.unlink()
    except OSError:
        return _read(path) or drawn
    return drawn


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
    return text if text != "uninitialized" else ""  # while a host starts for the first time


def _state() -> Path:
    """$XDG_STATE_HOME/xenia, or ~/.local/state/xenia."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return Path(base if os.path.isabs(base) else os.path.expanduser("~/.local/state"), "xenia")
