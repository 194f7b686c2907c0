"""This process as a machine's own: what it must have loaded, reserved and be able to open before its jail is closed."""

from __future__ import annotations

import ctypes
import importlib
import os
import pkgutil
import subprocess
import sysconfig
from contextlib import suppress
from pathlib import Path

from xenia.hypervisor.machine import reserve_processors
from xenia.jail.jail import enter
from xenia.jail.landlock import READ, Right

# Of each vcpu: a guest that reboots has the next one's made before its own is given up, which waits for its last user.
NR_PROCESSORS = 4

# Compiled modules that others load when they first need them.  In a jail no code is mapped any more.
_LOADED_LATE = """
    _bisect _blake2 _bz2 _contextvars _ctypes _datetime _hashlib _heapq _json _lzma _opcode _pickle _posixsubprocess
    _queue _random _sha1 _sha2 _sha256 _sha512 _socket _statistics _struct _uuid array binascii fcntl grp math mmap
    resource select termios unicodedata zlib zstandard traceback linecache tokenize encodings.idna
    cryptography.hazmat.primitives.ciphers.algorithms cryptography.hazmat.primitives.kdf.pbkdf2
    cryptography.hazmat.primitives.kdf.argon2"""

# Of these is loaded what is used by now: a network is served by a process of its own.
_OF_A_NETWORK = ("xenia.net.nat", "xenia.net.service")


def wall_in(
    violation_status: int, removable: Path | None = None, nr_processors: int = NR_PROCESSORS, engine: str = "emulated"
) -> None:
    """Close the jail around this process, in which a machine will be made.  What it needs by name is open by now.

    removable       a folder from which files may be taken away
    nr_processors   that guests may have at once
    engine          what they are

    ConfigError when the host refuses.  Precondition: there is no other thread.
    """
    for package in ("rings", "net", "storage", "xenstore", "xenbus", "backends"):
        folder = f"xenia.{package}"
        for module in pkgutil.walk_packages(importlib.import_module(folder).__path__, f"{folder}."):
            if not module.name.startswith(_OF_A_NETWORK):
                _load(module.name)
    for name in _LOADED_LATE.split():
        _load(name)
    with suppress(OSError):
        ctypes.CDLL("libgcc_s.so.1")  # the C library loads it when a thread ends early
    reserve_processors(nr_processors, engine)
    enter(_paths() | ({removable: Right.REMOVE_FILE} if removable is not None else {}), violation_status)


def _load(module: str) -> None:
    with suppress(ImportError):  # not everywhere
        importlib.import_module(module)


def _paths() -> dict[Path, Right]:
    """What may be opened: Python's own modules, those that are not loaded yet, and the device that swallows all."""
    modules = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths = {Path(path): READ for path in (*modules, str(Path(__file__).parents[2]))}
    return paths | {Path(os.devnull): Right.READ_FILE | Right.WRITE_FILE}


# It has the file's name as its own, and waits for the end of what it reads.
_JANITOR = 'trap "" HUP INT TERM; read -r done; rm -f -- "$0"'


class Janitor:
    """A process that takes a file away once this object is closed, or the process that made it has died."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _JANITOR, os.path.abspath(path)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def close(self) -> None:
        """Have it taken away, and wait until it is."""
        with suppress(OSError):
            self._process.communicate(b"\n")
