"""One disk of a guest as the operator writes it: a stack of storage layers, and words for the device that it becomes.

Both kinds of words stand in one list, separated by commas, the layers from the bottom up:

    file:data.img,crypt:key=@key,cow,vdev=xvdb,ro

The words for the device are those of xl-disk-configuration(5), so that what is written there for xl is understood
here, by position and by key:

    root.img,raw,xvda,rw
    format=qcow2, vdev=xvdb, access=ro, target=/images/data
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from xenia.backends.vbd.config import VbdConfig
from xenia.backends.vbd.name import device_number
from xenia.errors import ConfigError
from xenia.storage.door import recording
from xenia.storage.kinds import KINDS
from xenia.storage.layer import Layer
from xenia.storage.padded import Padded
from xenia.storage.spec import cut, plain, quote
from xenia.storage.stack import absolute, open_stack, words_of
from xenia.toolstack.config.device import MOST_DESCRIPTORS, DeviceConfig


@dataclass(frozen=True, slots=True)
class DiskConfig(DeviceConfig, VbdConfig):
    """A stack of storage layers, and how the guest sees it: as VbdConfig, and

    name            the virtual device: xvda, hdc, ...; None: the first xvd that is free
    mount           where the agent mounts it; None: nowhere
    """

    kind = "disk"

    stack: str
    name: str | None = None
    mount: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same by name, as plain data."""
        return asdict(self)

    @property
    def agent_word(self) -> str:
        """What the agent is told of one that it mounts: see agent/shares.h."""
        return f"{self.name}:{'disk-ro' if self.read_only else 'disk'}:{self.mount}"

    def open(self) -> Layer:
        """The storage behind the disk, in whole sectors.  ConfigError."""
        layer = open_stack(self.stack, self.read_only or self.cdrom)
        try:
            return self._in_sectors(layer)
        except BaseException:
            layer.close()
            raise

    def within(self, folder: Path) -> Self:
        return replace(self, stack=absolute(self.stack, folder))

    @contextmanager
    def opened(self) -> Iterator[tuple[Self, list[tuple[str, int]]]]:
        """The disk is opened whole and closed again, for only what is in it tells what it is based on."""
        with recording() as found:
            try:
                self.open().close()
            except ConfigError:
                if not words_of(self.stack)[0].name == "nbd":  # which is only there once
                    raise
            if len(found.opened) > MOST_DESCRIPTORS:
                raise ConfigError(f"the disk '{self.stack}' has more than {MOST_DESCRIPTORS} files")
            yield self, found.opened

    def _in_sectors(self, layer: Layer) -> Layer:
        unit = self.sector_size
        whole = -(-layer.size // unit) * unit
        if not whole and not self.cdrom:
            raise ConfigError(f"the disk '{self.stack}' has no bytes at all")
        if whole == layer.size:
            return layer
        if layer.read_only:
            return Padded(layer, unit)
        raise ConfigError(
            f"the disk '{self.stack}' has {layer.size} bytes, which are no whole sectors of {unit}: "
            f"use it read-only (ro), or make it longer (truncate -s {whole})"
        )


# The layer for each format of xl's; None: nothing here reads it.
_FORMATS = {"raw": "file", "qcow2": "qcow2", "qcow": None, "vhd": None, "qed": None}
# What older configurations put before a target, any number of them.  "file:" and "qcow2:" are layers, too.
_PREFIXES = ("tapdisk:", "tap2:", "tap:", "aio:", "ioemu:", "phy:")
_SCRIPTS = ("iscsi:", "enbd:", "drbd:")
_EMPTY = "memory:0"  # what is in an empty drive
_ACCESS = {"r": True, "ro": True, "w": False, "rw": False}
_BACKEND_TYPES = ("phy", "tap", "qdisk", "standalone")
_DEVICE = re.compile(r"(xvd|sd|hd)[a-z]{1,2}[0-9]*|d[0-9]+(p[0-9]+)?")


def parse_disk(text: str) -> DiskConfig:
    """What one --disk says.  ConfigError points at the word that it cannot understand."""
    return _Reader(text).read()


class _Reader:
    """Sorts the words of one disk into layers and what is said of the device."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._layers: list[str] = []
        self._format: str | None = None  # the layer that the first word is to be read as
        self._config = DiskConfig("")
        self._empty = False  # whether the target was left out
        self._said: dict[str, str] = {}  # what was said, and by which word

    def read(self) -> DiskConfig:
        words = [word.strip() for word in cut(self._text, ",")]
        for index, word in enumerate(words):
            key, equals, value = word.partition("=")
            if equals and key == "target":
                # As in xl, all that follows is the target, commas and all.
                self._target(quote(self._text.partition("target=")[2].strip()))
                break
            if equals and key in _KEYS:
                self._say(key, word)
                if value:  # an empty one is the default
                    _KEYS[key](self, word, plain(value))
            elif not word:
                self._left_out(words[index:])
            elif not self._layers and not self._empty and not (self._said and word in _FLAGS):
                self._target(word)
            elif not self._positional(word):
                self._layers.append(word)
        if (not self._layers and not (self._empty or self._config.cdrom)) or not self._text:
            raise ConfigError(f"the disk '{self._text}' names no file" if self._text else "a disk has no name")
        if not self._layers and not self._config.cdrom:
            raise ConfigError(f"the disk '{self._text}' names no file, and only a CD-ROM's drive may be empty (cdrom)")
        stack = ",".join([self._bottom(), *self._layers[1:]]) if self._layers else _EMPTY
        words_of(stack, self._text, self._said.get("target", ""))
        return replace(self._config, stack=stack)

    def _target(self, word: str) -> None:
        said, device = word, False
        while prefix := next((one for one in _PREFIXES if word.startswith(one)), ""):
            self._format, word = "file", word[len(prefix) :]
            device = device or prefix == "phy:"
        if script := next((one for one in _SCRIPTS if word.startswith(one)), ""):
            self._refuse_script(said, script)
        name, colon, rest = word.partition(":")
        if colon and name in _FORMATS and (name not in KINDS or word != said):
            self._set_format(said, name)
            self._said["format"] = said
            word = rest
        if word == said:
            word = _whole(word)
        elif word:
            word = quote(plain(word))
        if device and word and not word.startswith("/"):
            word = f"/dev/{word}"
        if word:
            self._say("target", said)
            self._layers.append(word)
        else:
            self._empty = True

    def _bottom(self) -> str:
        """The first layer in our own words."""
        word, kind = self._layers[0], self._kind()
        if self._format is None or kind == self._format:
            return word
        if kind is None:
            return f"{self._format}:{word}"
        if kind == "file":
            return f"{word},{self._format}"
        raise self._error(self._said["format"], f"'{word}' says how it is to be read")

    def _kind(self) -> str | None:
        """The layer that the first word names; None when it is a bare path."""
        name = cut(self._layers[0], ":")[0]
        return name if name in KINDS else None

    def _positional(self, word: str) -> bool:
        """Take a word without a key; False when it is none of the device's."""
        name = word.removesuffix(":cdrom")
        if word in _FORMATS and (not self._layers or self._kind() is None) and self._said.keys() <= {"target"}:
            self._say("format", word)
            self._set_format(word, word)
        elif word in _ACCESS:
            self._say("access", word)
            self._set_access(word, word)
        elif _DEVICE.fullmatch(name):
            self._say("vdev", word)
            self._set_name(word, name)
            if name != word:
                self._set_type(word, "cdrom")
        elif word in _FLAGS:
            self._config = _FLAGS[word](self._config)
        else:
            return False
        return True

    def _left_out(self, rest: list[str]) -> None:
        """Words by position may be left out, at the end, too.  Between layers nothing is missing."""
        word = next((word for word in rest if word), "")
        key = word.partition("=")[0]
        device = (
            word in _ACCESS or word in _FLAGS or word in _FORMATS or key in _KEYS or key == "target"
            or _DEVICE.fullmatch(word.removesuffix(":cdrom"))
        )  # fmt: skip
        if not (device or (not word and self._said)):
            raise ConfigError(f"the disk '{self._text}' has an empty word" if self._text else "a disk has no name")
        self._empty = self._empty or not self._layers

    def _say(self, what: str, word: str) -> None:
        if what in self._said:
            raise self._error(word, f"'{self._said[what]}' says that already")
        self._said[what] = word

    def _error(self, word: str, message: str) -> ConfigError:
        return ConfigError(f"in '{word}' of the disk '{self._text}': {message}")

    def _set_format(self, word: str, value: str) -> None:
        self._format = _FORMATS.get(value)
        if self._format is None:
            raise self._error(word, f"disks of the format '{value}' are not read here; raw and qcow2 are")

    def _set_name(self, word: str, value: str) -> None:
        try:
            device_number(value)
        except ValueError:
            raise self._error(word, f"'{value}' is no disk's name: use xvda, xvdb and so on") from None
        self._config = replace(self._config, name=value)

    def _set_access(self, word: str, value: str) -> None:
        if value not in _ACCESS:
            raise self._error(word, f"'{value}' is no way to use a disk: ro or rw")
        self._config = replace(self._config, read_only=_ACCESS[value])

    def _set_type(self, word: str, value: str) -> None:
        if value not in ("disk", "cdrom"):
            raise self._error(word, f"'{value}' is no type of device: disk or cdrom")
        self._config = replace(self._config, cdrom=value == "cdrom")

    def _set_sector_size(self, word: str, value: str) -> None:
        if value not in ("512", "4096", "4K"):
            raise self._error(word, f"a sector has 512 or 4096 bytes, not {value}")
        self._config = replace(self._config, sector_size=512 if value == "512" else 4096)

    def _set_backend(self, word: str, value: str) -> None:
        if value not in ("0", "Domain-0"):
            raise self._error(word, f"no domain '{value}' is there to serve it (see docs/driver-domains.md)")

    def _set_backend_type(self, word: str, value: str) -> None:
        if value not in _BACKEND_TYPES:
            raise self._error(word, f"'{value}' is no kind of backend: {', '.join(_BACKEND_TYPES)}")

    def _refuse_script(self, word: str, value: str) -> None:
        raise self._error(word, "no scripts are run here; name the file or device itself")

    def _set_specification(self, word: str, value: str) -> None:
        if value != "xen":
            raise self._error(word, f"disks of the specification '{value}' are not served here; xen's are")

    def _refuse_colo(self, word: str, value: str) -> None:
        raise self._error(word, "COLO is not supported")


_KEYS: dict[str, Callable[[_Reader, str, str], None]] = {
    "format": _Reader._set_format,
    "vdev": _Reader._set_name,
    "access": _Reader._set_access,
    "devtype": _Reader._set_type,
    "sector": _Reader._set_sector_size,
    "backend": _Reader._set_backend,
    "backendtype": _Reader._set_backend_type,
    "script": _Reader._refuse_script,
    "specification": _Reader._set_specification,
    **dict.fromkeys(("colo-host", "colo-port", "colo-export", "active-disk", "hidden-disk"), _Reader._refuse_colo),
}
_FLAGS: dict[str, Callable[[DiskConfig], DiskConfig]] = {
    "cdrom": lambda config: replace(config, cdrom=True),
    "persistent": lambda config: replace(config, persistent=True),
    "discard": lambda config: replace(config, discard=True),
    "no-discard": lambda config: replace(config, discard=False),
    "direct-io-safe": lambda config: config,
    "trusted": lambda config: config,
    "untrusted": lambda config: config,
}


def _whole(word: str) -> str:
    """A bare path with colons in it, which are not those of our own words for it, as one word."""
    name, *arguments = cut(word, ":")
    if not arguments or not set("/.") & set(name) or plain(name) in KINDS:
        return word
    kind = KINDS["qcow2" if name.endswith(".qcow2") else "file"]
    if all(one in kind.flags or one.partition("=")[0] in kind.options for one in arguments):
        return word
    return quote(plain(word))
