"""A small client of 9P2000.L, which sends what it is told, right or wrong."""

from __future__ import annotations

import os
import socket
import struct
import threading
from pathlib import Path
from typing import Self

from xenia.p9.session import Session
from xenia.p9.stream import Stream

LERROR, STATFS, LOPEN, LCREATE, SYMLINK, MKNOD, READLINK, GETATTR, SETATTR = 6, 8, 12, 14, 16, 18, 22, 24, 26
XATTRWALK, XATTRCREATE, READDIR, FSYNC, LOCK, GETLOCK, LINK, MKDIR, RENAMEAT = 30, 32, 40, 50, 52, 54, 70, 72, 74
UNLINKAT, VERSION, AUTH, ATTACH, FLUSH, WALK, READ, WRITE, CLUNK, REMOVE = (
    76,
    100,
    102,
    104,
    108,
    110,
    116,
    118,
    120,
    122,
)
NO_FID, NO_TAG = 0xFFFFFFFF, 0xFFFF
ROOT = 0


def text(value: str | bytes) -> bytes:
    data = value if isinstance(value, bytes) else os.fsencode(value)
    return struct.pack("<H", len(data)) + data


def message(kind: int, tag: int, body: bytes) -> bytes:
    return struct.pack("<IBH", 7 + len(body), kind, tag) + body


class Refused(Exception):
    """Rlerror."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.errno = number


class Peer:
    """A session with a server of its own, in this process, attached as fid 0."""

    def __init__(
        self, folder: Path, *, read_only: bool = False, fids: int = 1000, descriptors: int = 100,
        streams: int = 1, workers: int = 2, msize: int = 65536, begins: bool = True, hidden: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        descriptor = os.open(folder, os.O_RDONLY)
        self.session = Session(descriptor, read_only, fids, descriptors, hidden)
        os.close(descriptor)
        self.sockets: list[socket.socket] = []
        self._streams: list[Stream] = []
        self._threads: list[threading.Thread] = []
        for _ in range(streams):
            ours, theirs = socket.socketpair()
            ours.settimeout(30)
            self.sockets.append(ours)
            self._streams.append(Stream(self.session, theirs))
        for stream in self._streams:
            for _ in range(workers):
                self._threads.append(threading.Thread(target=stream.serve))
                self._threads[-1].start()
        self._free = iter(range(1, 1 << 30))
        if begins:
            self.version(msize)
            self.attach()

    def __enter__(self) -> Self:
        return self

    def leave(self, stream: int) -> None:
        """Close one connection, and have its server let go of it."""
        self.sockets[stream].close()
        workers = len(self._threads) // len(self._streams)
        for thread in self._threads[stream * workers : (stream + 1) * workers]:
            thread.join()
        del self._streams[stream]

    def __exit__(self, *_: object) -> None:
        for one in self.sockets:
            one.close()
        for stream in self._streams:
            stream.close()
        for thread in self._threads:
            thread.join()

    # --- Messages

    def send(self, kind: int, body: bytes, tag: int = 1, stream: int = 0) -> None:
        self.sockets[stream].sendall(message(kind, tag, body))

    def receive(self, stream: int = 0) -> tuple[int, int, bytes]:
        """Kind, tag, body.  EOFError where the server has ended it."""
        head = self._exactly(7, stream)
        size, kind, tag = struct.unpack("<IBH", head)
        return kind, tag, self._exactly(size - 7, stream)

    def _exactly(self, size: int, stream: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.sockets[stream].recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def ask(self, kind: int, body: bytes, tag: int = 1, stream: int = 0) -> bytes:
        self.send(kind, body, tag, stream)
        answered, its_tag, answer = self.receive(stream)
        assert its_tag == tag
        if answered == LERROR + 1:
            raise Refused(struct.unpack("<I", answer)[0])
        assert answered == kind + 1
        return answer

    # --- What one does with files

    def version(self, msize: int = 65536, version: str = "9P2000.L") -> tuple[int, str]:
        answer = self.ask(VERSION, struct.pack("<I", msize) + text(version), NO_TAG)
        return struct.unpack("<I", answer[:4])[0], answer[6:].decode()

    def attach(self, fid: int = ROOT) -> bytes:
        return self.ask(ATTACH, struct.pack("<II", fid, NO_FID) + text("") + text("") + struct.pack("<I", 0))

    def walk(self, *names: str | bytes, fid: int = ROOT, new: int | None = None) -> int:
        """A new fid.  Refused with ENOENT where it ends before the last name."""
        new = next(self._free) if new is None else new
        answer = self.ask(WALK, struct.pack("<IIH", fid, new, len(names)) + b"".join(map(text, names)))
        if struct.unpack("<H", answer[:2])[0] < len(names):
            raise Refused(2)
        return new

    def open(self, fid: int, flags: int = os.O_RDONLY) -> int:
        self.ask(LOPEN, struct.pack("<II", fid, flags))
        return fid

    def create(self, name: str, flags: int = os.O_RDWR, mode: int = 0o644, fid: int = ROOT) -> int:
        new = self.walk(fid=fid)
        try:
            self.ask(LCREATE, struct.pack("<I", new) + text(name) + struct.pack("<III", flags, mode, 0))
        except Refused:
            self.clunk(new)
            raise
        return new

    def read(self, fid: int, size: int = 4096, offset: int = 0) -> bytes:
        answer = self.ask(READ, struct.pack("<IQI", fid, offset, size))
        assert struct.unpack("<I", answer[:4])[0] == len(answer) - 4
        return answer[4:]

    def write(self, fid: int, data: bytes, offset: int = 0) -> int:
        return int(struct.unpack("<I", self.ask(WRITE, struct.pack("<IQI", fid, offset, len(data)) + data))[0])

    def clunk(self, fid: int) -> None:
        self.ask(CLUNK, struct.pack("<I", fid))

    def names(self, fid: int, size: int = 8192) -> list[str]:
        self.open(fid)
        found: list[str] = []
        offset = 0
        while entries := self.ask(READDIR, struct.pack("<IQI", fid, offset, size))[4:]:
            while entries:
                offset, _, length = struct.unpack_from("<QBH", entries, 13)
                found.append(os.fsdecode(entries[24 : 24 + length]))
                entries = entries[24 + length :]
        return found

    def getattr(self, fid: int) -> tuple[int, ...]:
        """Mode, owner, group, links, device, size, block size, blocks."""
        answer = self.ask(GETATTR, struct.pack("<IQ", fid, 0x7FF))
        return struct.unpack_from("<IIIQQQQQ", answer, 21)

    def setattr(self, fid: int, valid: int, *, mode: int = 0, owner: int = 0, size: int = 0, mtime: int = 0) -> None:
        self.ask(SETATTR, struct.pack("<IIIIIQQQQQ", fid, valid, mode, owner, owner, size, 0, 0, mtime, 0))

    def mkdir(self, name: str, fid: int = ROOT, mode: int = 0o755) -> None:
        self.ask(MKDIR, struct.pack("<I", fid) + text(name) + struct.pack("<II", mode, 0))

    def mknod(self, name: str, mode: int, fid: int = ROOT) -> None:
        self.ask(MKNOD, struct.pack("<I", fid) + text(name) + struct.pack("<IIII", mode, 1, 3, 0))

    def symlink(self, name: str, target: str, fid: int = ROOT) -> None:
        self.ask(SYMLINK, struct.pack("<I", fid) + text(name) + text(target) + struct.pack("<I", 0))

    def link(self, file: int, name: str, fid: int = ROOT) -> None:
        self.ask(LINK, struct.pack("<II", fid, file) + text(name))

    def readlink(self, fid: int) -> str:
        return os.fsdecode(self.ask(READLINK, struct.pack("<I", fid))[2:])

    def rename(self, old: str, new: str, fid: int = ROOT, to: int = ROOT) -> None:
        self.ask(RENAMEAT, struct.pack("<I", fid) + text(old) + struct.pack("<I", to) + text(new))

    def unlink(self, name: str, fid: int = ROOT, *, folder: bool = False) -> None:
        self.ask(UNLINKAT, struct.pack("<I", fid) + text(name) + struct.pack("<I", 0x200 if folder else 0))
