"""The networks of this user that run, by name: each a process with a socket in $XDG_RUNTIME_DIR/xenia/net.

NAME is one that `xenia net create` left running, GUEST@PROCESS the private one of a guest.  A process takes its socket
away when it ends; one that was killed leaves it, and whoever finds it takes it away.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from xenia.errors import ConfigError
from xenia.net.service.client import NetworkClient, find_network
from xenia.toolstack.runtime import runtime_directory

OF_A_GUEST = "@"  # in the names of private ones
_LONGEST_PATH = 107  # struct sockaddr_un


def private_name(guest: str, process: int) -> str:
    """What the network of a guest's own is called."""
    return f"{guest}{OF_A_GUEST}{process}"


def listen(name: str) -> socket.socket:
    """A socket on which a new network of that name is asked.  ConfigError where one runs already."""
    folder = runtime_directory("net")
    path = folder / name
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise ConfigError(f"the path of a socket is too long: {path} (set XDG_RUNTIME_DIR to a shorter one)")
    listener = socket.socket(socket.AF_UNIX)
    try:
        with _held(folder):
            if _answers(path):
                raise ConfigError(f"there is a network '{name}' already (xenia net delete {name})")
            listener.bind(str(path))
            path.chmod(0o600)
            listener.listen()
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen on {path}: {error.strerror}") from None
    except BaseException:
        listener.close()
        raise
    return listener


def names() -> list[str]:
    """Those that run."""
    folder = runtime_directory("net")
    with _held(folder):
        return sorted(path.name for path in folder.iterdir() if _answers(path))


def find(name: str) -> NetworkClient:
    """The network of that name, or the private one of the guest that is called so.  ConfigError where there is none, or
    more than one."""
    running = names()
    own = [one for one in running if one.partition(OF_A_GUEST)[0] == name or one.partition(OF_A_GUEST)[2] == name]
    found = [name] if name in running else own
    if len(found) > 1:
        raise ConfigError(f"more than one guest '{name}' has a network: say which ({', '.join(found)})")
    if not found:
        others = f"running: {', '.join(running)}" if running else f"none is running: xenia net create {name}"
        raise ConfigError(f"no network '{name}' is running ({others})")
    return find_network(runtime_directory("net") / found[0])


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Nobody else makes or takes away a socket meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _answers(path: Path) -> bool:
    """Whether somebody listens there; the socket of one that was killed is taken away."""
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        try:
            client.connect(str(path))
        except BlockingIOError:
            return True  # many ask just now
        except ConnectionRefusedError:
            with suppress(OSError):
                path.unlink()
            return False
        except OSError:
            return False
    return True
