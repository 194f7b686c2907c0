"""The cache: what was fetched or built once and can be had again.  Losing it costs time, nothing else.

Everything in it appears whole or not at all: it is made under another name and renamed.  Processes may share it.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import IO

from xenia.errors import ConfigError

Progress = Callable[[str, int, int], None]
"""Told about slow work: what is being done, how much of it is done, and how much there is (0: not known)."""


def no_progress(what: str, done: int, total: int) -> None:
    """The Progress of someone who does not care."""


class Cache:
    """A directory, by default $XDG_CACHE_HOME/xenia (or ~/.cache/xenia); made when first needed."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = default_root() if root is None else root

    def path(self, *parts: str) -> Path:
        """A path in the cache, whose parent directory exists."""
        path = self.root.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot use the cache {self.root}: {error.strerror} (set XDG_CACHE_HOME)") from None
        return path

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold the lock of that name: one process at a time fetches or builds a thing."""
        with self._writing(), self.path(f".{name}.lock").open("w") as lock:
            flock(lock, LOCK_EX)
            yield

    @contextmanager
    def new_file(self, target: Path) -> Iterator[Path]:
        """A path to write a file at, which becomes `target` when the block ends well."""
        with self._writing():
            handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
            os.close(handle)
            path = Path(name)
            try:
                yield path
                path.chmod(0o644)
                path.replace(target)
            finally:
                path.unlink(missing_ok=True)

    @contextmanager
    def scratch_file(self) -> Iterator[IO[bytes]]:
        """A file without a name, to write and read; it is gone when the block ends."""
        with self._writing(), tempfile.TemporaryFile(dir=self.root) as file:
            yield file

    @contextmanager
    def scratch_directory(self) -> Iterator[Path]:
        """A directory to fill; it is gone when the block ends."""
        with self._writing(), tempfile.TemporaryDirectory(prefix=".scratch.", dir=self.path("scratch").parent) as name:
            yield Path(name)

    @contextmanager
    def new_directory(self, target: Path) -> Iterator[Path]:
        """A directory to fill, which becomes `target` (replacing what was there) when the block ends well."""
        with self._writing():
            path = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
            try:
                yield path
                path.chmod(0o755)
                if target.exists():
                    shutil.rmtree(target)
                path.rename(target)
            finally:
                shutil.rmtree(path, ignore_errors=True)

    def remove(self, path: Path) -> None:
        """Remove a file or directory of the cache, if it is there.  It is gone at once, or stays whole."""
        with self._writing():
            doomed = Path(tempfile.mkdtemp(prefix=".gone.", dir=path.parent)) if path.exists() else None
            if doomed is not None:
                path.rename(doomed / path.name)
                shutil.rmtree(doomed)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(f"cannot write to the cache {self.root}: {error.strerror or error}") from None


def default_root() -> Path:
    """$XDG_CACHE_HOME/xenia, or ~/.cache/xenia; without a home directory, one in the directory for temporary files."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):
        return Path(base, "xenia")
    home = Path(os.path.expanduser("~"))
    if home.is_absolute() and os.access(home, os.W_OK):
        return home / ".cache" / "xenia"
    path = Path(tempfile.gettempdir(), f"xenia-{os.getuid()}")
    path.mkdir(mode=0o700, exist_ok=True)
    if path.is_symlink() or path.stat().st_uid != os.getuid():
        raise ConfigError(f"{path} belongs to someone else; set XDG_CACHE_HOME to a directory of yours")
    return path
