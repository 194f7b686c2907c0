"""Where this user's processes listen for each other (launcher/command.h looks there, too)."""

from __future__ import annotations

import os
from pathlib import Path

from xenia.errors import ConfigError


def runtime_directory(*folders: str) -> Path:
    """$XDG_RUNTIME_DIR/xenia, or else a directory of the user's among the temporary files, or a folder in it; made when
    it is not there.  ConfigError when it is somebody else's or cannot be made."""
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(base) and os.access(base, os.W_OK):
        path = Path(base, "xenia")
    else:
        import tempfile

        path = Path(tempfile.gettempdir(), f"xenia-run-{os.getuid()}")
    for folder in ("", *folders):
        path /= folder
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            if path.is_symlink() or path.stat().st_uid != os.getuid():
                raise ConfigError(f"{path} belongs to someone else; set XDG_RUNTIME_DIR to a directory of yours")
        except OSError as error:
            raise ConfigError(f"cannot make {path}: {error.strerror} (set XDG_RUNTIME_DIR)") from None
    return path
