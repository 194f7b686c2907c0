"""Opening and making whole stacks from the words that name them."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

from xenia.errors import ConfigError
from xenia.storage.checkpoint import Checkpoints
from xenia.storage.kinds import KINDS, Place, is_device, path_of
from xenia.storage.layer import Layer
from xenia.storage.qcow2.open import Bases
from xenia.storage.signature import LENGTH, signature
from xenia.storage.spec import Word, parse

_log = logging.getLogger(__name__)


def words_of(text: str, said: str = "", bottom: str = "") -> list[Word]:
    """The words of a stack, checked: each names a layer in its place, with options that the layer has.

    Complaints quote what somebody `said`, and how that one called the `bottom`, where it was not in these words.
    """
    words = parse(text)
    words = [replace(word, whole=said or word.whole) for word in words]
    words[0] = replace(words[0], text=bottom or words[0].text)
    words[0] = _bottom(words[0])
    for index, word in enumerate(words):
        kind = KINDS.get(word.name)
        if kind is None:
            hint = f"a file is file:{word.name}, " if index == 0 else ""
            raise ConfigError(
                f"in the disk '{word.whole}': what is '{word.name}'? ({hint}layers are {', '.join(KINDS)})"
            )
        for key in word.options:
            if key not in kind.options:
                known = ", ".join([*kind.options, *kind.flags])
                raise word.error(f"{word.name} has no option '{key}' ({known or 'it has none'})")
        values = [value for value in word.values if value not in kind.flags]
        if len(values) > (1 if kind.path else 0):
            extra = values[1 if kind.path else 0]
            raise word.error(f"what is '{extra}'? ({', '.join(kind.flags) or f'{word.name} takes no such word'})")
        stands_on_host = kind.bottom or (kind.bottom is None and bool(values))
        if index == 0 and not stands_on_host:
            raise word.error(f"{word.name} needs a layer below it, such as file:PATH,{word.text}")
        if index and stands_on_host:
            raise word.error(f"{word.name} stands on the host itself: it can only be the first word")
        if kind.keeps_lower and words[0].name == "folder" and (values or word.name == "checkpoint"):
            raise word.error("the disk of a folder is another one each time: what is kept would fit no other")
    return words


def open_stack(text: str, read_only: bool = False, bases: Bases = Bases.BESIDE) -> Layer:
    """Open a stack; its top is what the words describe.  `bases`: where those of its images may lie.  ConfigError."""
    return open_words(words_of(text), read_only, bases=bases)


def absolute(text: str, directory: Path) -> str:
    """The same stack for a process in another directory: its files, named from `directory`, are named from the root."""
    return ",".join(_absolute(word, directory) for word in words_of(text))


def open_over(lower: Layer, text: str) -> Layer:
    """Open the layers that `text` names over one that is open, which the result closes.  ConfigError."""
    return open_words(words_of("memory:0," + text)[1:], read_only=False, lower=lower)


def create_stack(text: str, size: int | None, replace: bool = False) -> None:
    """Make what a stack needs, so that its top has `size` bytes (None: as many as what is there gives).

    Layers below an overlay, and devices and servers, are there already; a file that exists is an error without
    `replace`.
    """
    words = words_of(text)
    first = max((index for index, word in enumerate(words) if KINDS[word.name].keeps_lower), default=0)
    sizes: list[int | None] = []
    room = size
    for word in reversed(words[first:]):
        sizes.insert(0, room)
        room = None if room is None else KINDS[word.name].room(word, room)
        if room is None and KINDS[word.name].room(word, 1) == 0:
            room = 0
    lower: Layer | None = open_words(words[:first], read_only=True) if first else None
    new = [path for word in words[first:] if (path := path_of(word)) is not None and not path.exists()]
    try:
        for index, word in enumerate(words[first:], first):
            create = KINDS[word.name].create
            wanted = sizes[index - first]
            if wanted is None and lower is not None and KINDS[word.name].room(word, 1) == 0 and not _has_base(word):
                wanted = lower.size
            if create is not None:
                create(word, lower, wanted, replace)
            try:
                lower = _open_one(word, lower, False, _host_path(words))
            except BaseException:
                lower = None  # whoever failed has closed it, or it is closed below
                raise
    except BaseException as error:
        for path in new:
            if path.is_file():
                path.unlink()  # half a disk is none
        if isinstance(error, OSError):
            raise ConfigError(f"cannot make the disk '{text}': {error.strerror or error}") from None
        raise
    finally:
        if lower is not None:
            lower.close()


def find_checkpoints(top: Layer) -> Checkpoints:
    """The uppermost layer of a stack that keeps checkpoints.  ConfigError where there is none."""
    for layer in top.stack():
        if isinstance(layer, Checkpoints):
            return layer
    raise ConfigError("this disk keeps no checkpoints: give it a layer that does, as in file:PATH,checkpoint")


def begins_as_zeroes(words: list[Word]) -> bool:
    """Whether a new disk of these layers reads as zeroes."""
    zero = False
    for word in words:
        zero = KINDS[word.name].begins_as_zeroes(word, zero)
    return zero


def open_words(words: list[Word], read_only: bool, lower: Layer | None = None, bases: Bases = Bases.BESIDE) -> Layer:
    """Open checked words over a layer, or from the bottom.  Where this fails, what was opened is closed."""
    # What is below a layer that keeps it as it is, is never written to.
    kept = max((index for index, word in enumerate(words) if KINDS[word.name].keeps_lower), default=0)
    try:
        for index, word in enumerate(words):
            below, lower = lower, None
            try:
                lower = _open_one(word, below, read_only or index < kept, _host_path(words), bases)
            except BaseException:
                if below is not None:
                    below.close()
                raise
            if below is None:
                _tell_format(lower, words)
    except OSError as error:
        raise ConfigError(f"cannot open the disk '{words[0].whole}': {error.strerror or error}") from None
    assert lower is not None
    return lower


def _tell_format(bottom: Layer, words: list[Word]) -> None:
    """A word to the operator where a file of bytes looks like something else."""
    path = path_of(words[0])
    fd = bottom.host_fd
    if path is None or fd < 0:
        return
    first, last = os.pread(fd, LENGTH, 0), os.pread(fd, LENGTH, max(0, bottom.size - LENGTH))
    found = signature(first, last)
    understood = {"qcow2": ("qcow2", "compress"), "an encrypted disk (LUKS)": ("crypt",)}
    if found is None or (len(words) > 1 and words[1].name in understood.get(found.name, ())):
        return
    rest = "".join(f",{word.text}" for word in words[1:])
    _log.warning("%s looks like %s: %s", path, found.name, found.advice.format(path=path, words=rest))


def _open_one(
    word: Word, lower: Layer | None, read_only: bool, bottom: Path | None, bases: Bases = Bases.BESIDE
) -> Layer:
    return KINDS[word.name].open(word, Place(lower, read_only, bottom, bases))


def _host_path(words: list[Word]) -> Path | None:
    return path_of(words[0]) if words[0].name in ("file", "qcow2", "device") else None


def _has_base(word: Word) -> bool:
    return "base" in word.options


def _bottom(word: Word) -> Word:
    """The first word may be a bare path: the kind of file is told by its name, never by what is in it."""
    if word.name in KINDS or not (set("/.") & set(word.name) or os.path.exists(word.name)):
        return word
    kind = "device" if is_device(word.name) else "qcow2" if Path(word.name).suffix == ".qcow2" else "file"
    return replace(word, name=kind, values=(word.name, *word.values))


def _absolute(word: Word, directory: Path) -> str:
    kind = KINDS[word.name]

    def rooted(path: str) -> str:
        return os.path.abspath(directory / path)

    values = tuple(rooted(value) if kind.is_path and value not in kind.flags else value for value in word.values)
    options = {
        key: f"@{rooted(value[1:])}" if key == "key" and value.startswith("@") else value
        for key, value in word.options.items()
    }
    return replace(word, values=values, options=options).written()
