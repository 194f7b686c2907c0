"""What an operator does with disks: make them, look at them, copy them, check them, go back to checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from xenia.abi.blkif import BLKIF_SECTOR_SIZE
from xenia.errors import ConfigError
from xenia.storage.buffers import is_zero
from xenia.storage.checkpoint import Named
from xenia.storage.file import open_file
from xenia.storage.kinds import path_of
from xenia.storage.layer import Capability, Layer
from xenia.storage.qcow2.check import check_image
from xenia.storage.qcow2.header import read_header
from xenia.storage.qcow2.open import Bases
from xenia.storage.spec import Word
from xenia.storage.stack import begins_as_zeroes, create_stack, find_checkpoints, open_stack, open_words, words_of
from xenia.toolstack.config.disk import parse_disk
from xenia.toolstack.disks.new_disk import new_disk
from xenia.toolstack.provision.cache import Progress, no_progress

STEP = 2 << 20  # bytes copied at a time


@dataclass(frozen=True, slots=True)
class Checked:
    """What the check of one image found."""

    image: str
    sound: bool
    errors: list[str]
    error_count: int
    leaks: int
    clusters: int
    repaired: bool


def stack_of(disk: str) -> str:
    """The storage of a disk in the words of --disk; what they say of a guest's device is of no matter here."""
    return parse_disk(disk).stack


def create(disk: str, size: int | None, replace: bool = False) -> None:
    """Make a disk of `size` bytes (None: of the size that what is there gives), whole sectors."""
    if size is not None and (size % BLKIF_SECTOR_SIZE or not size):
        raise ConfigError(f"{size} bytes are no disk: it has whole sectors of {BLKIF_SECTOR_SIZE}, and one at least")
    create_stack(stack_of(disk), size, replace)


def describe(disk: str) -> dict[str, Any]:
    """What a disk is, from the top layer down."""
    with open_stack(stack_of(disk), read_only=True) as top:
        return {
            "disk": disk,
            "size": top.size,
            "block_size": asdict(top.block_size),
            "layers": [{"layer": layer.name, "size": layer.size, **_details(layer)} for layer in top.stack()],
        }


def convert(
    source: str, target: str, replace: bool = False, progress: Progress = no_progress, backing: bool = True
) -> int:
    """Make `target`, and copy what `source` holds to it; the bytes that were copied, zeroes left out.

    backing   images of `source` may be based on other files, which are copied with them

    ConfigError where it cannot be done; then there is no half `target`, and one that was to be replaced is as it was.
    """
    bases = Bases.BESIDE if backing else Bases.NOWHERE
    try:
        with (
            open_stack(stack_of(source), read_only=True, bases=bases) as old,
            new_disk(stack_of(target), old.size, replace) as made,
        ):
            with open_stack(made) as new:
                if new.size < old.size:
                    raise ConfigError(f"the disk '{target}' has {new.size} bytes; {old.size} are needed")
                copied = _copy(old, new, begins_as_zeroes(words_of(stack_of(target))), progress)
                new.flush()
            return copied
    except OSError as error:
        raise ConfigError(f"cannot copy '{source}' to '{target}': {error.strerror or error}") from None


def check(disk: str, repair: bool = False, progress: Progress = no_progress) -> list[Checked]:
    """Check every image of the stack, from the bottom up; `repair` what can be."""
    found: list[Checked] = []
    for name, container in _containers(words_of(stack_of(disk)), not repair):
        with container:
            try:
                header = read_header(container, name)
                report = check_image(container, header, repair, _in_bytes(progress, f"checking {name}", header.size))
                if report.repaired:
                    # Once more: it tells whether it is sound now.
                    errors = report.errors
                    report = check_image(container, header)
                    report.errors, report.repaired = errors, True
            except OSError as error:
                raise ConfigError(f"cannot check {name}: {error.strerror or error}") from None
        found.append(
            Checked(name, report.sound, report.errors, report.error_count, report.leaks, report.used, report.repaired)
        )
    if not found:
        open_stack(stack_of(disk), read_only=True).close()  # what is not there, or is no disk, is not sound either
    return found


def checkpoint(disk: str, name: str) -> None:
    """Give the disk's state a name to go back to."""
    with open_stack(stack_of(disk)) as top, _as_config_error(disk):
        find_checkpoints(top).checkpoint(name)


def forget(disk: str, name: str) -> None:
    """Give up a checkpoint."""
    with open_stack(stack_of(disk)) as top, _as_config_error(disk):
        find_checkpoints(top).forget(name)


def rollback(disk: str, name: str) -> None:
    """Go back to a checkpoint."""
    with open_stack(stack_of(disk)) as top, _as_config_error(disk):
        find_checkpoints(top).rollback(name)


def checkpoints(disk: str) -> list[Named]:
    """The checkpoints of a disk, the oldest first."""
    with open_stack(stack_of(disk), read_only=True) as top:
        return find_checkpoints(top).checkpoints


def _in_bytes(progress: Progress, what: str, size: int) -> Callable[[int, int], None]:
    return lambda done, total: progress(what, size * done // total, size)


def _copy(old: Layer, new: Layer, new_is_zero: bool, progress: Progress) -> int:
    copied = 0
    buffer = bytearray(STEP)
    for extent in old.extents(0, old.size):
        start, end = extent.offset, extent.offset + extent.length
        while start < end:
            length = min(end - start, STEP - start % STEP)
            part = memoryview(buffer)[:length]
            if not extent.zero:
                old.preadv([part], start)
            if not extent.zero and not is_zero(part):
                new.pwritev([part], start)
                copied += length
            elif not new_is_zero:
                new.write_zeroes(start, length)
            start += length
            progress("copying", start, old.size)
    return copied


def _containers(words: list[Word], read_only: bool) -> Iterator[tuple[str, Layer]]:
    """The containers of the stack's images, by name, from the bottom up; whoever asks closes each before the next."""
    for index, word in enumerate(words):
        path = path_of(word)
        if word.name == "checkpoint":
            with open_words(words[: index + 1], read_only=True) as top:
                files = find_checkpoints(top).files
            for file in files:
                yield str(file), open_file(file, read_only)
        elif word.name in ("qcow2", "cow") and path is not None:
            yield str(path), open_file(path, read_only)
        elif word.name in ("qcow2", "compress"):
            yield f"what is in {words[index - 1].text}", open_words(words[:index], read_only)


def _details(layer: Layer) -> dict[str, Any]:
    lacking = [flag.name for flag in (Capability.FLUSH,) if flag not in layer.capabilities and flag.name]
    return {**layer.details(), **({"cannot": [name.lower() for name in lacking]} if lacking else {})}


@contextmanager
def _as_config_error(disk: str) -> Iterator[None]:
    """What the host refuses is the operator's to know, in one line."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"the disk '{disk}': {error.strerror or error}") from None
