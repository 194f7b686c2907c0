"""Copy-on-write: what is written goes to a qcow2 file, and what is below stays as it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from xenia.errors import ConfigError
from xenia.storage.door import door
from xenia.storage.file import RawFile, create_file, open_file
from xenia.storage.layer import Capability, Layer
from xenia.storage.qcow2.create import create_image
from xenia.storage.qcow2.header import read_header
from xenia.storage.qcow2.image import Qcow2


class Overlay(Qcow2):
    """What was written over `backing` since the overlay was made."""

    name: ClassVar[str] = "cow"

    @property
    def native_sector(self) -> int:
        assert self.backing is not None
        return self.backing.native_sector

    def seal(self) -> None:
        """Make everything durable, and take no more writes."""
        with self._lock:
            self._commit()
            self._commit()
            self.capabilities &= Capability.FLUSH


def open_overlay(lower: Layer, path: Path | None, read_only: bool = False) -> Overlay:
    """The overlay in that file, which is made where there is none; without a path, one that ends with its layer.

    The overlay closes `lower`; where this fails, nobody has.
    """
    if path is None:
        fleeting = Fleeting(door().nameless())
        return Overlay(fleeting, create_image(fleeting, lower.size), lower)
    if not path.exists() and not read_only:
        create_overlay(path, lower.size)
    container = open_file(path, read_only)
    try:
        header = read_header(container, str(path))
        if header.backing_file:
            raise ConfigError(f"{path} has a backing file of its own: use it as qcow2:{path}")
        if header.size < lower.size:  # it may have grown, the disk below may not
            raise ConfigError(f"{path} belongs to a disk of {header.size} bytes, and this one has {lower.size}")
        return Overlay(container, header, lower, read_only=read_only)
    except BaseException:
        container.close()
        raise


def create_overlay(path: Path, size: int) -> None:
    """An empty overlay.  It appears under its name when it is whole."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with create_file(part, 0) as container:
            create_image(container, size)
        part.rename(path)
        sync_directory(path.parent)
    except OSError as error:
        raise ConfigError(f"cannot make {path}: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Fleeting(RawFile):
    """A file without a name: nobody will ever find it after a crash."""

    def _flush(self) -> None:
        pass
