"""Opening a qcow2 image, and the images and files that it is based on."""

from __future__ import annotations

import os
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path

from xenia.errors import ConfigError
from xenia.storage.aligned import fine
from xenia.storage.file import open_file
from xenia.storage.layer import Layer
from xenia.storage.qcow2.check import check_image
from xenia.storage.qcow2.header import CORRUPT, DIRTY, Header, read_header
from xenia.storage.qcow2.image import Qcow2

LONGEST_CHAIN = 200


class Bases(Enum):
    """Where the files may lie that an image is based on: what it names is what its maker wanted to be read."""

    NOWHERE = auto()  # it may not be based on any
    BESIDE = auto()  # in the image's own folder, or below that
    ANYWHERE = auto()


OpenBottom = Callable[[Path, bool], Layer]


def open_image(
    container: Layer,
    what: str,
    directory: Path,
    *,
    read_only: bool = False,
    compress: bool = False,
    level: int | None = None,
    open_bottom: OpenBottom = open_file,
    chain: tuple[tuple[int, int], ...] = (),
    bases: Bases = Bases.BESIDE,
    root: Path | None = None,
) -> Qcow2:
    """Open the image in `container`, which the result closes, and which is closed where this fails.

    A backing file's name counts from `directory`.  `chain` are the files above, by device and inode; `root` is the
    folder of the uppermost one.
    """
    backing: Layer | None = None
    try:
        container = fine(container)
        header = read_header(container, what)
        read_only = read_only or container.read_only
        _heal(container, header, what, read_only)
        if header.backing_file:
            backing = _open_backing(header, what, directory, open_bottom, chain, bases, root or directory)
        return Qcow2(container, header, backing, read_only=read_only, compress=compress, level=level)
    except BaseException as error:
        container.close()
        if backing is not None:
            backing.close()
        if isinstance(error, OSError):
            raise ConfigError(f"cannot open {what}: {error.strerror}") from None
        raise


def open_image_file(
    path: Path, read_only: bool = False, bases: Bases = Bases.BESIDE, **options: bool | int | None
) -> Qcow2:
    """Open the image in a file."""
    identity = _identity(path)
    return open_image(
        open_file(path, read_only), str(path), path.parent, read_only=read_only,
        compress=bool(options.get("compress")), level=options.get("level"), chain=(identity,) if identity else (),
        bases=bases,
    )  # fmt: skip


def _heal(container: Layer, header: Header, what: str, read_only: bool) -> None:
    """See to an image that was left in the middle of something."""
    if read_only:
        return  # the reference counts play no part in reading
    if header.incompatible & CORRUPT:
        raise ConfigError(f"{what} is marked as damaged: it can be read only (or try 'xenia disk check --repair')")
    if header.incompatible & DIRTY:
        report = check_image(container, header, repair=True)
        if not report.repaired:
            raise ConfigError(f"{what} was not closed and cannot be repaired: {(report.errors or ['damaged'])[0]}")


def _open_backing(
    header: Header,
    what: str,
    directory: Path,
    open_bottom: OpenBottom,
    chain: tuple[tuple[int, int], ...],
    bases: Bases,
    root: Path,
) -> Layer:
    name = header.backing_file.removeprefix("file:")
    if name.startswith("json:") or (":" in name.split("/")[0] and not (directory / name).exists()):
        raise ConfigError(f"{what} is based on '{name}', which is not a file; rebase it with qemu-img")
    path = directory / name
    if bases is Bases.NOWHERE:
        raise ConfigError(f"{what} is based on {path}, and is not to be based on anything")
    if bases is Bases.BESIDE and not path.resolve().is_relative_to(root.resolve()):
        raise ConfigError(
            f"{what} is based on {path}, which is not in its folder: where its maker may be trusted to name any file, "
            "say so with qcow2:PATH:any-base"
        )
    identity = _identity(path)
    if identity is None:
        raise ConfigError(f"{what} is based on {path}, which does not exist")
    if identity in chain or len(chain) > LONGEST_CHAIN:
        raise ConfigError(f"{what} is based on {path}, which is based on it")
    match header.backing_format:
        case "qcow2":
            return open_image(
                open_file(path, True), str(path), path.parent, read_only=True, open_bottom=open_bottom,
                chain=(*chain, identity), bases=bases, root=root,
            )  # fmt: skip
        case "raw":
            return open_bottom(path, True)
        case "":
            raise ConfigError(
                f"{what} does not say what format its backing file {name} has: "
                f"qemu-img rebase -u -b {name} -F FORMAT {what}"
            )
    raise ConfigError(f"{what} is based on a file of the format '{header.backing_format}'; qcow2 and raw can be used")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
