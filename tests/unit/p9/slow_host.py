"""A host that takes its time over a lock: the process that runs this is stopped at each F_OFD_SETLK of a range that
begins at SLOW, until who started it lets it go on (seccomp's user notifications).

As a program: it serves the folder in its argument, does what it is told on standard input, and says when that is done.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

SLOW = 1 << 40
_FCNTL, _F_OFD_SETLK = 72, 37
_PR_SET_NO_NEW_PRIVS, _SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER = 38, 317, 1, 8
_ALLOW, _USER_NOTIF = 0x7FFF0000, 0x7FC00000
_RECEIVE, _SEND, _CONTINUE = 0xC0502100, 0xC0182101, 1


def listen() -> int:
    """From now on this thread and those that it starts wait at F_OFD_SETLK for who has the descriptor."""
    libc = ctypes.CDLL(None, use_errno=True)
    load, equal, give = 0x20, 0x15, 0x06
    program = b"".join(
        struct.pack("=HBBI", *one)
        for one in (
            (load, 0, 0, 0), (equal, 0, 3, _FCNTL), (load, 0, 0, 24), (equal, 0, 1, _F_OFD_SETLK),
            (give, 0, 0, _USER_NOTIF), (give, 0, 0, _ALLOW),
        )
    )  # fmt: skip
    filters = ctypes.create_string_buffer(program)
    head = ctypes.create_string_buffer(struct.pack("=H6xQ", 6, ctypes.addressof(filters)))
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    descriptor = libc.syscall(_SECCOMP, _SET_MODE_FILTER, _NEW_LISTENER, head)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "no user notifications here")
    return int(descriptor)


class Waiting:
    """A call that waits."""

    def __init__(self, listener: int) -> None:
        """The next one."""
        self._listener = listener
        self._notice = bytearray(80)
        fcntl.ioctl(listener, _RECEIVE, self._notice)
        self.thread: int = struct.unpack_from("=Q I", self._notice)[1]
        self.range_at: int = struct.unpack_from("=6Q", self._notice, 32)[2]

    @property
    def is_slow(self) -> bool:
        """Whether it is about such a range."""
        with open(f"/proc/{self.thread}/mem", "rb", 0) as memory:
            memory.seek(self.range_at)
            return int(struct.unpack("=hh4xq", memory.read(16))[2]) == SLOW

    def go_on(self) -> None:
        """Let it be carried out."""
        answer = bytearray(struct.pack("=QqiI", struct.unpack_from("=Q", self._notice)[0], 0, 0, _CONTINUE))
        fcntl.ioctl(self._listener, _SEND, answer)


def main(folder: str) -> None:
    """Lock a slow range by one fid, and then do as told by single letters, each answered with itself."""
    from tests.unit.p9.peer import CLUNK, LOCK, Peer, text

    with socket.socket(fileno=0) as channel:
        listener = listen()
        socket.send_fds(channel, [b"."], [listener])
        os.close(listener)
        with Peer(Path(folder), workers=4) as peer:
            slow = peer.open(peer.walk("slow"), os.O_RDWR)
            quick, other = (peer.open(peer.walk("quick"), os.O_RDWR) for _ in range(2))

            def lock(fid: int, kind: int, start: int = 0) -> bytes:
                return struct.pack("<IBIQQI", fid, kind, 0, start, 1, 7) + text("guest")

            while told := channel.recv(1):
                if told == b"s":
                    peer.send(LOCK, lock(slow, 1, SLOW), tag=9)
                elif told == b"q":
                    assert peer.ask(LOCK, lock(quick, 1), tag=2)[0] == 0
                    assert peer.ask(LOCK, lock(other, 1, 50), tag=3)[0] == 0
                    peer.clunk(quick)
                elif told == b"c":
                    peer.ask(CLUNK, struct.pack("<I", slow), tag=4)
                else:
                    assert peer.receive()[:2] == (LOCK + 1, 9)
                channel.send(told)


if __name__ == "__main__":
    main(*sys.argv[1:])
