"""What a container image runs, and how: its configuration (image-spec, config.md), as the guest's agent takes it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xenia.agent.config import ImageCommand
from xenia.errors import ConfigError
from xenia.toolstack.image.oci_archive import DAMAGED
from xenia.toolstack.image.oci_tree import Tree

_MOST_USERS = 4 << 20  # bytes of /etc/passwd or /etc/group
_LARGEST_ID = (1 << 32) - 2


@dataclass(frozen=True)
class User:
    """Whom a command runs as: numbers, and his home directory ("" where he has none)."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = ""


def image_command(config: Mapping[str, Any], tree: Tree, where: str) -> ImageCommand:
    """What the image with this configuration and these files runs.  ConfigError where it says what cannot be."""
    said = config.get("config")
    if said is None:
        said = {}
    if not isinstance(said, dict):
        raise ConfigError(f"{where}: damaged: its configuration is none")
    arguments = (*_strings(said, "Entrypoint", where), *_strings(said, "Cmd", where)) or ("/bin/sh",)
    environment = dict(_variable(text, where) for text in _strings(said, "Env", where))
    user = find_user(_string(said, "User", where), tree, where)
    environment.setdefault("HOME", user.home or "/")
    directory = posixpath.normpath("/" + _string(said, "WorkingDir", where).lstrip("/"))
    return ImageCommand(arguments, environment, directory, user.uid, user.gid, user.groups)


def find_user(text: str, tree: Tree, where: str) -> User:
    """The user, and his groups, that USER or USER:GROUP names by name or number, as the image knows them now."""
    name, _, group = text.partition(":")
    users, groups = _table(tree, "etc/passwd", where), _table(tree, "etc/group", where)
    name = name or "0"
    row = next((row for row in users if len(row) >= 6 and name in (row[0], row[2])), None)
    number = row[2] if row is not None else name
    if not _is_id(number):
        raise ConfigError(f"{where}: it is to be run as '{name}', whom its /etc/passwd does not know")
    if group:
        found = next((one[2] for one in groups if len(one) >= 3 and group in (one[0], one[2])), group)
        if not _is_id(found):
            raise ConfigError(f"{where}: it is to be run in the group '{group}', which its /etc/group does not know")
        return User(int(number), int(found), (), row[5] if row is not None else "")
    if row is None or not _is_id(row[3]):
        return User(int(number))
    others = [one[2] for one in groups if len(one) >= 4 and row[0] in one[3].split(",") and _is_id(one[2])]
    return User(int(number), int(row[3]), tuple(map(int, others[:64])), row[5])


def _is_id(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) is not None and int(text) <= _LARGEST_ID


def _table(tree: Tree, path: str, where: str) -> list[list[str]]:
    inode = tree.find(path)
    file = inode.contents() if inode is not None else None
    try:
        text = file.read(_MOST_USERS).decode("utf-8", "replace") if file is not None else ""
    except (OSError, *DAMAGED):
        raise ConfigError(f"{where}: damaged: its /{path} cannot be read") from None
    return [line.split(":") for line in text.splitlines()]


def _variable(text: str, where: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ConfigError(f"{where}: '{text[:40]}' in its environment is no variable")
    return name, value


def _strings(said: Mapping[str, Any], key: str, where: str) -> Sequence[str]:
    found = said.get(key)
    found = [] if found is None else found
    if not isinstance(found, list) or not all(isinstance(one, str) and "\0" not in one for one in found):
        raise ConfigError(f"{where}: damaged: {key} of its configuration is no list of words")
    return found


def _string(said: Mapping[str, Any], key: str, where: str) -> str:
    found = said.get(key)
    found = "" if found is None else found
    if not isinstance(found, str) or "\0" in found:
        raise ConfigError(f"{where}: damaged: {key} of its configuration is no word")
    return found
