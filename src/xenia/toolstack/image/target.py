"""The disk that an image is built on: it appears whole or not at all, where that is ours to say."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from xenia.backends.storage.file import open_file
from xenia.backends.storage.kinds import KINDS, path_of
from xenia.backends.storage.spec import Word
from xenia.backends.storage.stack import create_stack, words_of
from xenia.errors import ConfigError


@contextmanager
def new_disk(disk: str, size: int, overwrite: bool = False) -> Iterator[str]:
    """Make a disk of `size` bytes and give the words to open it by; it becomes `disk` when the block ends well.

    Where the bottom of the stack is no file, such as a device, it is written where it stands.  ConfigError when it
    exists already (without `overwrite`), or cannot be made.
    """
    words = words_of(disk)
    for word in words:
        if KINDS[word.name].keeps_lower:
            raise word.error("an image is built from nothing, not over another disk; leave this word out")
    path = path_of(words[0]) if words[0].name in ("file", "qcow2") else None
    if path is None or path.is_block_device():
        create_stack(disk, size, overwrite)
        yield disk
        return
    if path.exists() and not overwrite:
        raise ConfigError(f"{path} exists already (--force takes its place)")
    try:
        with _unused(path), tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
            made = Path(scratch, path.name)
            text = ",".join([_moved(words[0], path, made).written(), *(word.text for word in words[1:])])
            create_stack(text, size)
            yield text
            made.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from None


@contextmanager
def _unused(path: Path) -> Iterator[None]:
    """Keep others from the file whose place is taken."""
    if not path.exists():
        yield
        return
    with open_file(path):
        yield


def _moved(word: Word, old: Path, new: Path) -> Word:
    return replace(word, values=tuple(str(new) if value == str(old) else value for value in word.values))
