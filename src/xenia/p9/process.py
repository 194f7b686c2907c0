"""The process of a file server: one folder, and one client at a time.

It ends when its owner's connection does.  What it needs by name it has before the walls close; from then on it can
reach the folder and nothing else of the host's.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
from pathlib import Path

from xenia.errors import ConfigError
from xenia.jail import jail, kinds
from xenia.jail.landlock import READ, Right
from xenia.machine.thread import HostThread
from xenia.p9.client import MOST_STREAMS, SERIAL_SIZE
from xenia.p9.session import Session
from xenia.p9.stream import Stream

VIOLATION_STATUS = 118
WORKERS = 4
"""Threads for each stream: so many slow calls at once hold nobody up."""
MOST_FILES = 1 << 18
"""That a client may hold."""
DESCRIPTORS = 1 << 16
"""How many the process may have, where the host lets it; what the client holds beyond half of them is closed, and found
again when it is needed."""
_OWN_DESCRIPTORS = 64
_MOST_SESSIONS = 4  # that have not ended yet: a call that hangs keeps its thread
# What the host's processes and devices are seen by; a guest has its own.
_HIDDEN = ("dev", "proc", "run", "sys")

_CHANGES = (
    Right.WRITE_FILE | Right.REMOVE_DIR | Right.REMOVE_FILE | Right.MAKE_DIR | Right.MAKE_REG | Right.MAKE_SOCK
    | Right.MAKE_FIFO | Right.MAKE_SYM | Right.REFER | Right.TRUNCATE
)  # fmt: skip


class Process:
    """The owner's connection, and whom it serves."""

    def __init__(self, control: socket.socket, folder: int, read_only: bool) -> None:
        self._control = control
        self._folder = folder
        self._read_only = read_only
        self._descriptors = _raise_limit()
        self._hidden = _HIDDEN if _is_root(folder) else ()
        self._streams: list[Stream] = []
        self._threads: list[HostThread] = []
        os.umask(0)  # what a client makes has the mode that it says
        jail.enter(_paths(folder, read_only), VIOLATION_STATUS, kinds.server(), self._descriptors)

    def run(self) -> None:
        """Serve until the owner has gone."""
        while asked := self._control.recv(16):
            serial = asked[:SERIAL_SIZE]
            try:
                ends = self._session(asked[-1])
            except (ConfigError, OSError) as error:
                self._control.send(serial + str(error).encode()[:4000])
                continue
            socket.send_fds(self._control, [serial + b"ready"], [end.fileno() for end in ends])
            for end in ends:
                end.close()

    def _session(self, streams: int) -> list[socket.socket]:
        if not 1 <= streams <= MOST_STREAMS:
            raise ConfigError(f"a client has 1 to {MOST_STREAMS} streams, not {streams}")
        for stream in self._streams:
            stream.close()
        self._streams = []  # and with it what the client held, once its last call is over
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        if len(self._threads) > _MOST_SESSIONS * MOST_STREAMS * WORKERS:
            raise ConfigError("too many calls of clients that have gone hang in the host's file system")
        most_open = (self._descriptors - _OWN_DESCRIPTORS) // 2
        session = Session(self._folder, self._read_only, MOST_FILES, most_open, self._hidden)
        ends: list[socket.socket] = []
        for _ in range(streams):
            theirs, ours = socket.socketpair()
            for end in (theirs, ours):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            ends.append(theirs)
            stream = Stream(session, ours)
            self._streams.append(stream)
            for _ in range(WORKERS):
                thread = HostThread(stream.serve, "files", kinds.Kind.FILES)
                self._threads.append(thread)
                thread.start()
        return ends


def _paths(folder: int, read_only: bool) -> dict[Path, Right]:
    rights = READ if read_only else READ | _CHANGES
    place = Path(f"/proc/self/fd/{folder}")
    if not _is_root(folder):
        return {place: rights}
    return {place / name: rights for name in os.listdir(folder) if name not in _HIDDEN} | {place: Right.READ_DIR}


def _is_root(folder: int) -> bool:
    return os.path.samestat(os.fstat(folder), os.stat("/"))


def _raise_limit() -> int:
    """As many descriptors as there may be; how many those are."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))
    return descriptors


def main(argument: str) -> None:
    """Serve what `argument` says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = json.loads(argument)
    with socket.socket(fileno=settings["control"]) as control:
        control.set_inheritable(False)
        os.set_inheritable(settings["folder"], False)
        try:
            process = Process(control, settings["folder"], settings["read_only"])
        except ConfigError as error:
            if asked := control.recv(16):
                control.send(asked[:SERIAL_SIZE] + str(error).encode()[:4000])
            return
        process.run()
