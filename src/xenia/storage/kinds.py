"""The layers that an operator can name: how each is opened and made, and the options it takes."""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from xenia.errors import ConfigError
from xenia.storage.aligned import fine
from xenia.storage.cache import Cache
from xenia.storage.checkpoint import Checkpoints
from xenia.storage.cow import open_overlay
from xenia.storage.delay import Delay
from xenia.storage.device import open_device
from xenia.storage.door import door
from xenia.storage.faulty import Faulty
from xenia.storage.file import create_file, open_file, remove_file
from xenia.storage.folder import open_folder, refuse_folder
from xenia.storage.layer import Layer, Operation
from xenia.storage.luks2 import DATA_OFFSET, Cost, Luks, format_luks, unlock
from xenia.storage.memory import Memory
from xenia.storage.nbd import connect, open_nbd
from xenia.storage.qcow2.create import create_image
from xenia.storage.qcow2.open import Bases, open_image, open_image_file
from xenia.storage.size import parse_size
from xenia.storage.spec import Word
from xenia.storage.throttle import Throttle
from xenia.storage.trace import Trace

_log = logging.getLogger(__name__)
MOST_KEY = 8 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a stack a word is being opened."""

    lower: Layer | None
    read_only: bool
    bottom: Path | None  # the file at the bottom, where there is one
    bases: Bases = Bases.BESIDE


@dataclass(frozen=True, slots=True)
class Kind:
    """A layer by its name."""

    summary: str
    open: Callable[[Word, Place], Layer]
    path: str = ""  # what the argument without '=' is; "" where there is none
    is_path: bool = True  # of a file of the host's
    bottom: bool | None = False  # stands on the host: always, never, or (None) when it has a path
    options: dict[str, str] = field(default_factory=dict)  # those with a value
    flags: dict[str, str] = field(default_factory=dict)
    keeps_lower: bool = False  # never writes to the layer below
    # Whether a new one reads as zeroes, given whether what is below does.
    begins_as_zeroes: Callable[[Word, bool], bool] = lambda word, below: below
    room: Callable[[Word, int], int] = lambda word, size: size  # bytes needed below for `size` above
    create: Callable[[Word, Layer | None, int | None, bool], None] | None = None


def path_of(word: Word) -> Path | None:
    """The argument that is a path, flags aside."""
    flags = KINDS[word.name].flags
    paths = [value for value in word.values if value and value not in flags]
    return Path(paths[0]) if paths else None


def need_path(word: Word) -> Path:
    """The path, which this word cannot do without."""
    path = path_of(word)
    if path is None:
        raise word.error(f"{word.name} needs {KINDS[word.name].path}: {word.name}:PATH")
    return path


def _number(word: Word, key: str, default: int, least: int = 0) -> int:
    text = word.options.get(key)
    if text is None:
        return default
    try:
        value = parse_size(text)
    except ConfigError:
        value = -1
    if value < least:
        raise word.error(f"'{text}' is not a value for {key}")
    return value


def _seconds(word: Word, key: str) -> float:
    try:
        value = float(word.options.get(key, "0")) / 1000
    except ValueError:
        value = -1.0
    if not 0 <= value < 3600:
        raise word.error(f"'{word.options[key]}' is not a number of milliseconds")
    return value


def _lower(place: Place) -> Layer:
    assert place.lower is not None
    return place.lower


def _read_only(word: Word, place: Place) -> bool:
    return place.read_only or "ro" in word.values


# The bottom


def _open_file(word: Word, place: Place) -> Layer:
    path = need_path(word)
    if is_device(str(path)):
        return open_device(path, _read_only(word, place))
    return open_file(path, _read_only(word, place))


def _create_file(word: Word, lower: Layer | None, size: int | None, replace: bool) -> None:
    path = need_path(word)
    if is_device(str(path)):
        return  # it is there already
    if size is None:
        raise word.error("how large is it to be? (--size 10G)")
    create_file(path, size, replace).close()


def _open_device(word: Word, place: Place) -> Layer:
    return open_device(need_path(word), _read_only(word, place))


def _open_nbd(word: Word, place: Place) -> Layer:
    path = need_path(word)
    if door().is_recording:
        connect(path).close()
        return Memory(1 << 40)  # for what is above to find its own files
    return open_nbd(path, word.options.get("export", ""), _read_only(word, place))


def _open_memory(word: Word, place: Place) -> Layer:
    try:
        return Memory(parse_size(str(need_path(word))))
    except (ConfigError, OverflowError, OSError):
        raise word.error("how large is it to be? memory:64M") from None


# Formats


def _open_qcow2(word: Word, place: Place) -> Layer:
    path, level = path_of(word), _level(word)
    compress = "compress" in word.values
    read_only = _read_only(word, place)
    if path is not None:
        return open_image_file(path, read_only, _bases(word, place), compress=compress, level=level)
    what = f"what is below '{word.text}'"
    directory = place.bottom.parent if place.bottom else Path()
    return open_image(
        _lower(place), what, directory, read_only=read_only, compress=compress, level=level, bases=_bases(word, place)
    )


def _bases(word: Word, place: Place) -> Bases:
    return Bases.ANYWHERE if "any-base" in word.values and place.bases is Bases.BESIDE else place.bases


def _create_qcow2(word: Word, lower: Layer | None, size: int | None, replace: bool) -> None:
    path = path_of(word)
    base = word.options.get("base", "")
    base_format = ""
    if base:
        below = (path.parent if path else Path()) / base
        with open_file(below, read_only=True) as found:
            base_format = "qcow2" if found.pread(0, min(4, found.size)) == b"QFI\xfb" else "raw"
        if size is None:
            bases = _bases(word, Place(None, True, None))
            with open_image_file(below, True, bases) if base_format == "qcow2" else open_file(below, True) as opened:
                size = opened.size
    if size is None:
        raise word.error("how large is it to be? (--size 10G)")
    cluster = _number(word, "cluster", 64 << 10, 1)
    if cluster & (cluster - 1):
        raise word.error("a cluster's size is a power of two")
    container = create_file(path, 0, replace) if path else lower
    assert container is not None
    try:
        create_image(
            container, size,
            version=_number(word, "version", 3), cluster_bits=cluster.bit_length() - 1,
            compression=word.options.get("compression", "zlib" if word.options.get("version") == "2" else "zstd"),
            backing_file=base, backing_format=base_format,
        )  # fmt: skip
    finally:
        if path:
            container.close()


def _open_compress(word: Word, place: Place) -> Layer:
    return open_image(
        _lower(place), f"what is below '{word.text}'", place.bottom.parent if place.bottom else Path(),
        read_only=place.read_only, compress=True, level=_level(word), bases=place.bases,
    )  # fmt: skip


def _create_compress(word: Word, lower: Layer | None, size: int | None, replace: bool) -> None:
    assert lower is not None
    if size is None:
        raise word.error("how large is it to be? (--size 10G)")
    create_image(lower, size, compression="zstd")


def _level(word: Word) -> int | None:
    return _number(word, "level", 3, 1) if "level" in word.options else None


# Overlays


def _open_cow(word: Word, place: Place) -> Layer:
    return open_overlay(_lower(place), path_of(word), place.read_only)


def _create_cow(word: Word, lower: Layer | None, size: int | None, replace: bool) -> None:
    path = path_of(word)
    if path is None:
        raise word.error("an overlay without a file cannot be made beforehand: cow:PATH")
    if path.exists() and not replace:
        raise word.error(f"{path} exists")
    remove_file(path)


def _open_checkpoint(word: Word, place: Place) -> Layer:
    directory = path_of(word)
    if directory is None:
        if place.bottom is None:
            raise word.error("where are the checkpoints to be? checkpoint:DIRECTORY")
        directory = place.bottom.with_name(f"{place.bottom.name}.checkpoints")
    return Checkpoints(_lower(place), directory, place.read_only)


# Filters


def key_of(word: Word) -> bytes:
    """The contents of the file that the option 'key' names."""
    name = word.options.get("key", "")
    if not name:
        raise word.error("crypt needs a key: crypt:key=@FILE")
    if not name.startswith("@"):
        raise word.error("a key comes from a file, so that no command line shows it: key=@FILE")
    try:
        with open(door().open(name[1:], os.O_RDONLY), "rb") as file:
            data = file.read(MOST_KEY + 1)
    except OSError as error:
        raise word.error(f"cannot read the key {name[1:]}: {error.strerror}") from None
    if not data or len(data) > MOST_KEY:
        raise word.error(f"{name[1:]} is no key")
    return data


def _sector(word: Word, default: int) -> int:
    size = _number(word, "sector", default)
    if size not in (512, 1024, 2048, 4096):
        raise word.error("a sector has 512, 1024, 2048 or 4096 bytes")
    return size


def _open_crypt(word: Word, place: Place) -> Layer:
    from xenia.storage.crypt import Crypt

    lower = _lower(place)
    key = key_of(word)
    if "plain" in word.values:
        luks = Luks(0, None, _sector(word, 512), 0, key)
    else:
        luks = unlock(fine(lower), key, f"what is below '{word.name}'")
    return Crypt(lower, luks, discards="discards" in word.values)


def _create_crypt(word: Word, lower: Layer | None, size: int | None, replace: bool) -> None:
    assert lower is not None
    key = key_of(word)
    if "plain" in word.values:
        return
    kdf = word.options.get("kdf", "argon2id")
    if kdf not in ("argon2id", "pbkdf2"):
        raise word.error(f"'{kdf}' does not make keys; argon2id and pbkdf2 do")
    cost = Cost() if kdf == "argon2id" else Cost(600_000, 0)
    format_luks(fine(lower), key, _sector(word, 4096), cost)


def _crypt_room(word: Word, size: int) -> int:
    sector = _sector(word, 512 if "plain" in word.values else 4096)
    return -(-size // sector) * sector + (0 if "plain" in word.values else DATA_OFFSET)


def _open_cache(word: Word, place: Place) -> Layer:
    return Cache(_lower(place), _number(word, "size", 64 << 20, 1), "writeback" in word.values)


def _open_throttle(word: Word, place: Place) -> Layer:
    if not word.options:
        raise word.error("how many bytes or requests a second? throttle:bytes=10M:requests=100")
    return Throttle(_lower(place), _number(word, "bytes", 0), _number(word, "requests", 0))


def _open_delay(word: Word, place: Place) -> Layer:
    return Delay(_lower(place), _seconds(word, "read"), _seconds(word, "write"), _seconds(word, "flush"))


def _open_faulty(word: Word, place: Place) -> Layer:
    chosen = {
        "reads": (Operation.READ,), "writes": (Operation.WRITE, Operation.WRITE_ZEROES), "flushes": (Operation.FLUSH,),
        "discards": (Operation.DISCARD, Operation.SECURE_DISCARD),
    }  # fmt: skip
    operations = [operation for flag in word.values for operation in chosen[flag]]
    number = getattr(errno, word.options.get("error", "EIO"), None)
    if not isinstance(number, int):
        raise word.error(f"'{word.options['error']}' is not an errno")
    return Faulty(
        _lower(place), operations, after=_number(word, "after", 0),
        times=_number(word, "times", 0) if "times" in word.options else None,
        start=_number(word, "start", 0), end=_number(word, "end", 0) if "end" in word.options else None, number=number,
    )  # fmt: skip


def _open_trace(word: Word, place: Place) -> Layer:
    return Trace(
        _lower(place),
        lambda record: _log.info("%s %d+%d", record.event.value, record.offset, record.length),
        keep_data=False,
    )


_RO = {"ro": "never write to it"}

KINDS: dict[str, Kind] = {
    "file": Kind(
        "a file of the host, byte for byte", _open_file, "a file", bottom=True, flags=_RO, create=_create_file,
        begins_as_zeroes=lambda word, below: not is_device(str(path_of(word) or "")),
    ),
    "device": Kind(
        "a block device of the host", _open_device, "a device", bottom=True, flags=_RO,
        create=lambda word, lower, size, replace: None,
    ),
    "nbd": Kind(
        "what an NBD server on a unix socket serves", _open_nbd, "a socket", bottom=True,
        options={"export": "which of its exports (default: the one without a name)"}, flags=_RO,
        create=lambda word, lower, size, replace: None,
    ),
    "folder": Kind(
        "a file system (ext4) with what is in a folder of the host's, gone in the end",
        lambda word, place: open_folder(need_path(word), _read_only(word, place)), "a folder", bottom=True, flags=_RO,
        create=refuse_folder,
    ),
    "memory": Kind(
        "zeroes to begin with, in memory, gone in the end", _open_memory, "a size", is_path=False, bottom=True,
        create=lambda word, lower, size, replace: None, begins_as_zeroes=lambda word, below: True,
    ),
    "qcow2": Kind(
        "a qcow2 image: in a file, or in the layer below", _open_qcow2, "a file", bottom=None,
        options={
            "level": "how hard to compress",
            "base": "when made: the file it starts from, relative to the image",
            "cluster": "when made: the size of a cluster (default: 64K)",
            "compression": "when made: zstd or zlib (default: zstd)",
            "version": "when made: 3 or 2 (default: 3)",
        },
        flags={
            **_RO, "compress": "compress what is written",
            "any-base": "the files it is based on may lie outside of its folder",
        },
        room=lambda word, size: 0, create=_create_qcow2,
        begins_as_zeroes=lambda word, below: "base" not in word.options,
    ),
    "compress": Kind(
        "compression with Zstandard, as a qcow2 image in the layer below", _open_compress,
        options={"level": "how hard, from 1 to 22 (default: 3)"},
        room=lambda word, size: 0, create=_create_compress, begins_as_zeroes=lambda word, below: True,
    ),
    "crypt": Kind(
        "encryption with AES-XTS, under a LUKS2 header", _open_crypt,
        options={
            "key": "@FILE: the file whose contents are the passphrase",
            "sector": "512 to 4096; with a header, when made (default: 4096, plain: 512)",
            "kdf": "when made: argon2id or pbkdf2 (default: argon2id)",
        },
        flags={
            "plain": "no header: the file is the key itself, 32 or 64 bytes",
            "discards": "pass discards on, which shows below what is in use",
        },
        room=_crypt_room, create=_create_crypt, begins_as_zeroes=lambda word, below: False,
    ),
    "cow": Kind(
        "copy-on-write: the layer below stays as it is", _open_cow,
        "the file for what is written (default: one that is gone in the end)", keeps_lower=True, create=_create_cow,
    ),
    "checkpoint": Kind(
        "named states to go back to; the layer below stays as it is", _open_checkpoint,
        "a directory (default: beside the bottom file, its name with .checkpoints)", keeps_lower=True,
        create=lambda word, lower, size, replace: None,
    ),
    "cache": Kind(
        "keeps what was used last in memory", _open_cache, options={"size": "of the memory (default: 64M)"},
        flags={"writeback": "keep what is written, too, until a flush"},
    ),
    "throttle": Kind(
        "so much a second and no more", _open_throttle,
        options={"bytes": "a second", "requests": "a second"},
    ),
    "delay": Kind(
        "for tests: slow", _open_delay,
        options={name: "milliseconds for each" for name in ("read", "write", "flush")},
    ),
    "faulty": Kind(
        "for tests: fails", _open_faulty,
        options={
            "after": "so many requests", "times": "how often (default: always)", "start": "the first byte that is bad",
            "end": "the byte after the last", "error": "an errno by name (default: EIO)",
        },
        flags={name: f"fail {name}" for name in ("reads", "writes", "flushes", "discards")},
    ),
    "trace": Kind("for tests: logs what comes by", _open_trace),
}  # fmt: skip


def table() -> str:
    """What docs/storage.md says about each layer."""
    lines = ["| Layer | Bottom | Arguments | |", "|---|---|---|---|"]
    for name, kind in KINDS.items():
        bottom = {True: "bottom", False: "", None: "with a path"}[kind.bottom]
        arguments = [kind.path] if kind.path else []
        arguments += [f"`{option}=` {meaning}" for option, meaning in kind.options.items()]
        arguments += [f"`{flag}` {meaning}" for flag, meaning in kind.flags.items()]
        lines.append(f"| `{name}` | {bottom} | {'; '.join(arguments)} | {kind.summary} |")
    return "\n".join(lines) + "\n"


def is_device(path: str) -> bool:
    """Whether there is a block device of that name."""
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)
    except OSError:
        return False
