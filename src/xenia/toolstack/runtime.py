"""Where this user's processes listen for each other.  `xenia exec` loads this and little else."""

from __future__ import annotations

import os

from xenia.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path


def runtime_directory(*folders: str) -> Path:
    """$XDG_RUNTIME_DIR/xenia, or else a directory of the user's among the temporary files, or a folder in it; made when
    it is not there.  ConfigError when it is somebody else's or cannot be made."""
    import tempfile
    from pathlib import Path

    path = Path(_of_the_session() or os.path.join(tempfile.gettempdir(), _AMONG_OTHERS))
    for folder in ("", *folders):
        path /= folder
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            if path.is_symlink() or path.stat().st_uid != os.getuid():
                raise ConfigError(f"{path} belongs to someone else; set XDG_RUNTIME_DIR to a directory of yours")
        except OSError as error:
            raise ConfigError(f"cannot make {path}: {error.strerror} (set XDG_RUNTIME_DIR)") from None
    return path


def probable_directory() -> str | None:
    """Where that is on most hosts, if it is there and the user's; told without trying where temporary files go."""
    path = _of_the_session() or os.path.join(os.environ.get("TMPDIR", "/tmp"), _AMONG_OTHERS)
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return path if found.st_uid == os.getuid() and found.st_mode & 0o170000 == 0o040000 else None


_AMONG_OTHERS = f"xenia-run-{os.getuid()}"


def _of_the_session() -> str | None:
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    return os.path.join(base, "xenia") if os.path.isabs(base) and os.access(base, os.W_OK) else None
