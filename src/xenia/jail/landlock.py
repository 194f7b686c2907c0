"""Landlock: which of the host's files a process may still open, and whom it may still reach.  See landlock(7)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from enum import IntFlag
from pathlib import Path

from xenia.jail import kernel


class Right(IntFlag):
    """LANDLOCK_ACCESS_FS_* of linux/landlock.h; each version of the interface handles all up to one of them."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


READ = Right.READ_FILE | Right.READ_DIR

# What the rules handle from which version on; what is handled and not allowed is refused.
_FS = ((1, (1 << 13) - 1), (2, Right.REFER), (3, Right.TRUNCATE), (5, Right.IOCTL_DEV))
_TCP = (1 << 0) | (1 << 1)  # LANDLOCK_ACCESS_NET_BIND_TCP, _CONNECT_TCP: from version 4 on
_SCOPES = (1 << 0) | (1 << 1)  # LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET, _SIGNAL: from version 6 on
_FILE_ONLY = Right.EXECUTE | Right.WRITE_FILE | Right.READ_FILE | Right.TRUNCATE | Right.IOCTL_DEV

VERSION_OF_TCP, VERSION_OF_SCOPES = 4, 6


def restrict(paths: Mapping[Path, Right], version: int, connects: bool = False) -> None:
    """Hold this thread, and those that it starts, to these paths; those that are not there are left out.

    connects   whether TCP is left to them

    Precondition: no_new_privs is set, and the kernel has that version.  OSError.
    """
    handled = 0
    for since, rights in _FS:
        if version >= since:
            handled |= rights
    rules = kernel.landlock_ruleset(
        handled,
        _TCP if version >= VERSION_OF_TCP and not connects else 0,
        _SCOPES if version >= VERSION_OF_SCOPES else 0,
    )
    try:
        for path, rights in paths.items():
            with suppress(FileNotFoundError, PermissionError):
                _allow(rules, path, rights & handled)
        kernel.landlock_restrict(rules)
    finally:
        os.close(rules)


def _allow(rules: int, path: Path, rights: int) -> None:
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        kernel.landlock_allow(rules, rights if path.is_dir() else rights & _FILE_ONLY, parent)
    finally:
        os.close(parent)
