"""A disk that is being made: it appears whole or not at all, where that is ours to say."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from xenia.errors import ConfigError
from xenia.storage.file import open_locked
from xenia.storage.kinds import KINDS, path_of
from xenia.storage.spec import Word
from xenia.storage.stack import create_stack, words_of


@contextmanager
def new_disk(disk: str, size: int, overwrite: bool = False) -> Iterator[str]:
    """Make a disk of `size` bytes and give the words to open it by; it becomes `disk` when the block ends well.

    Where the bottom of the stack is no file, such as a device, it is written where it stands.  ConfigError when it
    exists already (without `overwrite`), is in use, or cannot be made.
    """
    words = words_of(disk)
    path = path_of(words[0]) if words[0].name in ("file", "qcow2") else None
    if any(KINDS[word.name].keeps_lower for word in words):
        with _over_another(disk, words, size, overwrite):
            yield disk
    elif path is None or path.is_block_device():
        create_stack(disk, size, overwrite)
        yield disk
    else:
        with _in_its_place(words, path, size, overwrite) as text:
            yield text


def refuse_overlays(disk: str) -> None:
    """ConfigError for a disk that would stand on another one."""
    for word in words_of(disk):
        if KINDS[word.name].keeps_lower:
            raise word.error("an image is built from nothing, not over another disk; leave this word out")


def refuse_existing(disk: str, overwrite: bool) -> None:
    """ConfigError where `new_disk` would refuse to take a file's place, or find none for it: for who has much to do
    before."""
    word = words_of(disk)[0]
    path = path_of(word) if word.name in ("file", "qcow2") else None
    if path is not None and not path.is_block_device():
        _refuse_existing(path, overwrite)
        folder = Path(os.path.realpath(path)).parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            number = errno.EACCES if folder.is_dir() else errno.ENOENT
            raise ConfigError(f"cannot write {path}: {os.strerror(number)}")


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise ConfigError(f"{Path(os.path.realpath(path))} exists already (--force takes its place)")


@contextmanager
def _in_its_place(words: list[Word], path: Path, size: int, overwrite: bool) -> Iterator[str]:
    """Beside the file, which it takes the place of in the end."""
    _refuse_existing(path, overwrite)
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    made = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        text = ",".join([_moved(words[0], made).written(), *(word.text for word in words[1:])])
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        with _unused(path):
            try:
                create_stack(text, size)
            except ConfigError as error:
                raise ConfigError(str(error).replace(str(made), str(path))) from None
            yield text
            if path.exists():
                made.chmod(path.stat().st_mode & 0o777)
            made.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        made.unlink(missing_ok=True)


@contextmanager
def _unused(path: Path) -> Iterator[None]:
    """Keep others from the file whose place is taken."""
    if not path.exists():
        yield
        return
    fd = open_locked(path, os.O_RDWR)
    try:
        yield
    finally:
        os.close(fd)


@contextmanager
def _over_another(disk: str, words: list[Word], size: int, overwrite: bool) -> Iterator[None]:
    """Where it stands: what is below it stays, and so does nothing of it that was not there before."""
    first = max(index for index, word in enumerate(words) if KINDS[word.name].keeps_lower)
    new = [path for word in words[first:] if (path := path_of(word)) is not None and not path.exists()]
    create_stack(disk, size, overwrite)
    try:
        yield
    except BaseException:
        for path in new:
            if path.is_file():
                path.unlink()
        raise


def _moved(word: Word, new: Path) -> Word:
    old = path_of(word)
    return replace(word, values=tuple(str(new) if Path(value) == old else value for value in word.values))
