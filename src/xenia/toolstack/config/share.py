"""A folder of the host's that a guest sees: what an operator asks for."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Self, cast

from xenia.errors import ConfigError
from xenia.storage.door import door
from xenia.storage.spec import cut, plain, quote
from xenia.toolstack.config.device import Backing, DeviceConfig
from xenia.toolstack.config.disk import DiskConfig

_OPENING = "xenia.toolstack.shares.share"
_WORDS = ("ro", "rw", "cow", "disk")
_TAG = re.compile(r"[A-Za-z0-9_.+-]{1,31}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
MOST_SHARES = 64


@dataclass(frozen=True, slots=True)
class ShareConfig(DeviceConfig):
    """A folder.

    path        where it is on the host
    name        its tag, by which the guest mounts it; None: the first of share0, share1, ... that is free
    mount       where the agent mounts it; None: nowhere, the guest does that itself
    read_only   whether the guest may change nothing
    cow         whether the guest sees it as its own, and what it changes is kept in its memory
    on_disk     whether the guest has a copy of it on a disk (`as_disk`), which it and its kernel need no more for than
                for any disk
    """

    kind = "share"

    path: str
    name: str | None = None
    mount: str | None = None
    read_only: bool = False
    cow: bool = False
    on_disk: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The same by name, as plain data."""
        return asdict(self)

    @property
    def agent_word(self) -> str:
        """What the agent is told of it: see agent/shares.h."""
        mode = "root" if self.mount == "/" else "cow" if self.cow else "ro" if self.read_only else "rw"
        return f"{self.name}:{mode}:{self.mount}"

    @property
    def opened_name(self) -> str:
        """What its connection is noted under, which no other one of the same folder is, nor a disk of it."""
        return f"share {self.name} {self.path}"

    @property
    def changes_nothing(self) -> bool:
        """Whether the host's folder stays as it is."""
        return self.read_only or self.cow

    def open(self) -> Backing:
        """The folder's server.  Within `handed` it is the one that came, and elsewhere started.  ConfigError."""
        shares = import_module(_OPENING)
        if (files := door().taken(self.opened_name)) is not None:
            return cast(Backing, shares.assemble(files))
        return cast(Backing, shares.start(self))

    def as_disk(self, name: str) -> DiskConfig:
        """The disk that has a copy of it."""
        return DiskConfig(f"folder:{quote(self.path)}", name, mount=self.mount, read_only=self.read_only)

    @contextmanager
    def opened(self) -> Iterator[tuple[Self, list[tuple[str, int]]]]:
        """The connection to a server that is started, and is whose has this."""
        with import_module(_OPENING).started(self) as descriptor:
            yield self, [(self.opened_name, descriptor)]

    def within(self, folder: Path) -> Self:
        """The same for a process in another folder."""
        return replace(self, path=os.path.normpath(folder / self.path))

    def among(self, ask: Callable[[], Mapping[str, Any]]) -> Self:
        """The same beside the folders that the guest has."""
        shares = ask().get("shares", [])
        return self.called((share["name"] for share in shares), {share["mount"] for share in shares})

    def called(self, taken: Iterable[str | None], mounts: Iterable[str | None] = ()) -> Self:
        """The same with a tag: its own, or the first that is not taken; at a place that is none of `mounts`.
        ConfigError."""
        others = set(taken)
        if len(others) >= MOST_SHARES:
            raise ConfigError(f"a guest has {MOST_SHARES} shared folders at the most")
        if self.mount is not None and self.mount in mounts:
            raise ConfigError(f"a shared folder is at {self.mount} in the guest already")
        if self.name in others:
            raise ConfigError(f"there is a shared folder '{self.name}' already")
        free = (f"share{number}" for number in range(MOST_SHARES + 1))
        return self if self.name is not None else replace(self, name=next(tag for tag in free if tag not in others))

    def check(self) -> None:
        """ConfigError where words that come from anywhere describe no share."""
        if self.name is not None and not _TAG.fullmatch(self.name):
            raise ConfigError(f"'{self.name}' is no tag: up to 31 letters, digits, _ . + and -")
        for place in (self.path, self.mount or "/"):
            if not place.startswith("/") or _CONTROL.search(place) or len(os.fsencode(place)) >= 4096:
                raise ConfigError(f"'{place}' is no path from the root on")


HOST_ROOT = ShareConfig("/", "root", "/", cow=True)
"""The host's own file system, as the guest's."""


def parse_share(text: str, *, cow: bool = False) -> ShareConfig:
    """What one --share says: DIR[:MOUNT][:ro][:disk], or xl's tag=TAG,path=DIR,security_model=none.  A backslash makes
    the character after it an ordinary one.  The folder is looked at only when it is opened.  ConfigError points at what
    it cannot understand."""
    if re.match(r"(tag|path|security_model|backend)\s*=", text):
        return parse_xl_share(text)
    first, *others = cut(text, ":")
    words = {word for word in others if word in _WORDS}
    rest = [plain(part) for part in (first, *(part for part in others if part not in _WORDS))]
    if len(rest) > 2 or not rest[0] or {"ro", "rw"} <= words:
        hint = r" (and \: for a colon in a name)" if len(rest) > 2 else ""
        raise ConfigError(f"the share '{text}': write DIR[:MOUNT][:ro][:disk]{hint}")
    path = os.path.abspath(os.path.expanduser(rest[0]))
    mount = rest[1] if len(rest) == 2 else default_mount(path)
    if not mount.startswith("/") or mount == "/":
        raise ConfigError(f"the share '{text}': the guest sees it at a path such as /mnt, and not at '{mount}'")
    on_disk = "disk" in words
    config = ShareConfig(
        path, mount=os.path.normpath(mount), read_only="ro" in words, cow=(cow or "cow" in words) and not on_disk,
        on_disk=on_disk,
    )  # fmt: skip
    config.check()
    return config


def written(path: str) -> str:
    """A path as a part of what parse_share reads."""
    return path.replace("\\", r"\\").replace(":", r"\:")


def parse_later(text: str) -> ShareConfig:
    """The same for a guest that runs."""
    config = parse_share(text)
    if config.cow:
        raise ConfigError(f"the share '{text}': a copy is made where the guest begins (xenia run --rw-cow)")
    if config.on_disk:
        raise ConfigError(f"the share '{text}': a disk is attached as one (xenia block-attach GUEST folder:DIR)")
    return config


def default_mount(path: str) -> str:
    """Where a guest sees a folder of the host's: at the same path, unless that is one of the guest's own."""
    return path if path.count("/") > 1 else f"/mnt{path}".rstrip("/")


def parse_xl_share(text: str) -> ShareConfig:
    """What one word of xl's p9 says: tag=TAG,path=DIR,security_model=none.  ConfigError."""
    said: dict[str, str] = {}
    for word in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = (part.strip() for part in word.partition("="))
        if not equals or key not in ("tag", "path", "security_model", "backend", "type"):
            raise ConfigError(f"the folder '{text}': what is '{word}'? There are tag=, path= and security_model=none")
        said[key] = value
    if missing := {"tag", "path"} - said.keys():
        raise ConfigError(f"the folder '{text}' has no {missing.pop()}=")
    if said.get("security_model", "none") != "none":
        raise ConfigError(f"the folder '{text}': security_model={said['security_model']} is not there, use none")
    if said.get("backend", "0") not in ("0", "Domain-0"):
        raise ConfigError(f"the folder '{text}': no domain '{said['backend']}' is there to serve it")
    config = ShareConfig(os.path.abspath(said["path"]), said["tag"])
    config.check()
    return config


def for_guest(shares: Iterable[ShareConfig]) -> tuple[ShareConfig, ...]:
    """The folders of one guest, each with a tag of its own.  ConfigError where two want the same tag, or place."""
    found: list[ShareConfig] = []
    asked = list(shares)
    named = {share.name for share in asked if share.name is not None}
    for share in asked:
        taken = {other.name for other in found} | (named if share.name is None else set())
        if share.mount is not None and any(other.mount == share.mount for other in found):
            raise ConfigError(f"two shared folders are to be at {share.mount} in the guest")
        found.append(share.called(taken))
    return tuple(found)


def on_disks(
    shares: Iterable[ShareConfig], disks: Iterable[DiskConfig]
) -> tuple[tuple[DiskConfig, ...], tuple[ShareConfig, ...]]:
    """A guest's disks with those that its folders are to be on, called by the last names that are free; and the other
    folders.  ConfigError where no name is left."""
    found = list(disks)
    others: list[ShareConfig] = []
    for share in shares:
        if not share.on_disk:
            others.append(share)
            continue
        taken = {disk.name for disk in found}
        name = next((f"xvd{letter}" for letter in "zyxwvutsrqponm" if f"xvd{letter}" not in taken), None)
        if name is None:
            raise ConfigError(f"no disk is left for the folder {share.path}: xvdm to xvdz are taken")
        found.append(share.as_disk(name))
    return tuple(found), tuple(others)


def place_of(folder: str, shares: Iterable[ShareConfig]) -> str | None:
    """Where a folder of the host's is in the guest; None: nowhere."""
    for share in sorted(shares, key=lambda share: -len(share.path)):
        if share.mount is not None and (folder == share.path or folder.startswith(share.path.rstrip("/") + "/")):
            return os.path.join(share.mount, folder.removeprefix(share.path).lstrip("/")).rstrip("/") or "/"
    return None
