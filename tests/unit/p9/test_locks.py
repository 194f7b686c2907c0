"""Locks of a client's processes and of the host's, on the same files."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.p9.peer import FSYNC, GETLOCK, LOCK, Peer, text
from tests.unit.p9.slow_host import Waiting

READS, WRITES, UNLOCKS = 0, 1, 2
GIVEN, BLOCKED, FAILED = 0, 1, 2
MOST = 8192  # ranges
_FLOCK = struct.Struct("=hh4xqqi4x")  # struct flock of x86-64


class Host:
    """One on the host that has the file open."""

    def __init__(self, path: Path) -> None:
        self.file = os.open(path, os.O_RDWR)

    def locks(self, kind: int, start: int = 0, length: int = 0) -> bool:
        """Whether it gets that lock, which a process of its own would (the server here is in this process)."""
        try:
            fcntl.fcntl(self.file, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
        except BlockingIOError:
            return False
        return True

    def free(self, start: int = 0, length: int = 0) -> bool:
        """Whether nobody else has any of that range locked."""
        got = self.locks(fcntl.F_WRLCK, start, length)
        self.locks(fcntl.F_UNLCK, start, length)
        return got

    def flocks(self, kind: int) -> bool:
        """The same by flock(2)."""
        try:
            fcntl.flock(self.file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    (tmp_path / "file").write_bytes(b"x" * 100)
    found = Host(tmp_path / "file")
    yield found
    os.close(found.file)


def lock(
    peer: Peer, fid: int, kind: int, start: int = 0, length: int = 0, process: int = 7, waits: bool = False
) -> int:
    """The status that it is answered with."""
    return peer.ask(LOCK, struct.pack("<IBIQQI", fid, kind, waits, start, length, process) + text("guest"))[0]


def look(peer: Peer, fid: int, kind: int, start: int = 0, length: int = 0) -> tuple[int, int, int]:
    """The lock that stands in the way: kind, start and length."""
    said = struct.pack("<IBQQI", fid, kind, start, length, 7) + text("guest")
    return struct.unpack_from("<BQQ", peer.ask(GETLOCK, said))


def test_a_range_that_a_client_has_locked_the_host_does_not_get(tmp_path: Path, host: Host) -> None:
    with Peer(tmp_path) as peer:
        fid = peer.open(peer.walk("file"), os.O_RDWR)
        assert lock(peer, fid, WRITES, 10, 20) == GIVEN
        assert not host.locks(fcntl.F_RDLCK, 29, 1)
        assert host.free(30, 0) and host.free(0, 10)
        assert lock(peer, fid, READS, 10, 10) == GIVEN  # the first half of it is shared from now on
        assert host.locks(fcntl.F_RDLCK, 10, 10) and not host.locks(fcntl.F_RDLCK, 20, 10)
        host.locks(fcntl.F_UNLCK)
        assert lock(peer, fid, UNLOCKS, 15, 2) == GIVEN
        assert host.free(15, 2) and not host.free(14, 1) and not host.free(17, 1)


def test_what_the_host_has_locked_a_client_waits_for_and_is_told_of(tmp_path: Path, host: Host) -> None:
    with Peer(tmp_path) as peer:
        fid = peer.open(peer.walk("file"), os.O_RDWR)
        assert host.locks(fcntl.F_WRLCK, 40, 5)
        assert lock(peer, fid, READS, 0, 0) == BLOCKED
        assert look(peer, fid, READS, 0, 0) == (WRITES, 40, 5)
        assert look(peer, fid, READS, 45, 0)[0] == UNLOCKS
        assert lock(peer, fid, WRITES, 0, 40) == GIVEN
        assert look(peer, fid, WRITES, 0, 40)[0] == UNLOCKS  # its own
        host.locks(fcntl.F_UNLCK)
        assert lock(peer, fid, READS, 0, 0) == GIVEN


def test_whole_files_are_locked_by_flock_too(tmp_path: Path, host: Host) -> None:
    with Peer(tmp_path) as peer:
        fid = peer.open(peer.walk("file"))  # to be read: enough for flock
        assert lock(peer, fid, WRITES) == GIVEN
        assert not host.flocks(fcntl.LOCK_SH)
        assert lock(peer, fid, READS) == GIVEN
        assert host.flocks(fcntl.LOCK_SH) and not host.flocks(fcntl.LOCK_EX)
        assert lock(peer, fid, UNLOCKS) == GIVEN
        assert host.flocks(fcntl.LOCK_EX)
        assert lock(peer, fid, READS) == BLOCKED
        assert host.free()  # nothing is left of the attempt
        host.flocks(fcntl.LOCK_UN)
        assert lock(peer, fid, READS) == GIVEN


def test_what_one_process_gives_up_stays_locked_for_another(tmp_path: Path, host: Host) -> None:
    with Peer(tmp_path) as peer:
        one, other = (peer.open(peer.walk("file"), os.O_RDWR) for _ in range(2))
        assert lock(peer, one, READS, 0, 50, process=1) == lock(peer, other, READS, 40, 50, process=2) == GIVEN
        assert lock(peer, one, UNLOCKS, 0, 0, process=1) == GIVEN
        assert host.free(0, 40) and not host.free(40, 1) and not host.free(89, 1) and host.free(90, 0)
        # A child that closes a file which it was given says so of itself.
        assert lock(peer, other, UNLOCKS, 0, 0, process=3) == GIVEN
        assert not host.free(40, 50)
        assert lock(peer, other, READS, process=2) == lock(peer, one, READS, process=1) == GIVEN
        assert lock(peer, other, UNLOCKS, process=2) == GIVEN
        assert host.flocks(fcntl.LOCK_SH) and not host.flocks(fcntl.LOCK_EX)


def test_what_flock_locked_another_process_with_that_open_file_unlocks(tmp_path: Path, host: Host) -> None:
    """As flock(1) does of a shell's, which is a process of its own each time: Linux says it as one that may wait."""
    with Peer(tmp_path) as peer:
        one, other = (peer.open(peer.walk("file"), os.O_RDWR) for _ in range(2))
        assert lock(peer, one, READS, process=1, waits=True) == lock(peer, other, READS, process=2) == GIVEN
        assert lock(peer, one, UNLOCKS, process=3, waits=True) == GIVEN
        assert not host.flocks(fcntl.LOCK_EX)  # the other's
        assert lock(peer, other, UNLOCKS, process=4, waits=True) == GIVEN
        assert host.flocks(fcntl.LOCK_EX) and host.free()


def test_two_open_files_of_one_process_have_a_lock_each_by_flock(tmp_path: Path, host: Host) -> None:
    """What one of them gives up, or is closed with, the other keeps: Linux says first that it gives it up."""
    with Peer(tmp_path) as peer:
        one, other, third = (peer.open(peer.walk("file"), os.O_RDWR) for _ in range(3))
        assert lock(peer, one, READS, waits=True) == lock(peer, other, READS, waits=True) == GIVEN
        assert host.flocks(fcntl.LOCK_SH) and not host.flocks(fcntl.LOCK_EX)
        host.flocks(fcntl.LOCK_UN)
        assert lock(peer, other, UNLOCKS, waits=True) == GIVEN
        assert not host.flocks(fcntl.LOCK_EX) and not host.free()
        # One that has nothing is closed: to Linux it may have what the process has by fcntl.
        assert lock(peer, third, UNLOCKS) == GIVEN
        peer.clunk(third)
        assert not host.flocks(fcntl.LOCK_EX) and not host.free()
        assert lock(peer, one, UNLOCKS) == GIVEN
        assert host.flocks(fcntl.LOCK_EX) and host.free()
        host.flocks(fcntl.LOCK_UN)
        # Alone: Linux has let go of the one before it asks for the other, whichever is heard of first.
        assert lock(peer, one, WRITES) == lock(peer, other, WRITES) == GIVEN
        assert lock(peer, one, UNLOCKS, waits=True) == GIVEN
        assert not host.flocks(fcntl.LOCK_SH)
        assert lock(peer, other, UNLOCKS, waits=True) == GIVEN
        assert host.flocks(fcntl.LOCK_EX) and host.free()


def test_a_part_that_a_process_gives_up_it_gives_up_by_whatever_file_it_was_locked(tmp_path: Path, host: Host) -> None:
    with Peer(tmp_path) as peer:
        one, other = (peer.open(peer.walk("file"), os.O_RDWR) for _ in range(2))
        assert lock(peer, one, WRITES) == lock(peer, other, UNLOCKS, 10, 5) == GIVEN
        assert host.free(10, 5) and not host.free(9, 1) and not host.free(15, 1)
        assert lock(peer, other, UNLOCKS) == GIVEN  # ranges, which flock has none of
        assert host.free()


@pytest.fixture
def slow_host(tmp_path: Path) -> Iterator[tuple[socket.socket, int]]:
    """A server in another process, and where it waits for a slow host."""
    for name in ("slow", "quick"):
        (tmp_path / name).write_bytes(b"x" * 100)
    ours, theirs = socket.socketpair()
    ours.settimeout(30)
    with ours, theirs, subprocess.Popen(
        [sys.executable, "-m", "tests.unit.p9.slow_host", str(tmp_path)], stdin=theirs.fileno(), stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as process:  # fmt: skip
        theirs.close()
        said, listeners, _, _ = socket.recv_fds(ours, 1, 1)
        if not said:
            pytest.skip(process.communicate()[1].decode().splitlines()[-1])
        yield ours, listeners[0]
        os.close(listeners[0])
        process.kill()


def _until(channel: socket.socket, listener: int, letter: bytes) -> None:
    """Have that done; its calls to the host are quick."""
    channel.send(letter)
    while select.select([channel.fileno(), listener], [], [], 30)[0] == [listener]:
        one = Waiting(listener)
        assert not one.is_slow
        one.go_on()
    assert channel.recv(1) == letter


def _slow(channel: socket.socket, listener: int) -> Waiting:
    """Have a lock asked for that the host does not answer yet."""
    channel.send(b"s")
    assert channel.recv(1) == b"s"
    waiting = Waiting(listener)
    assert waiting.is_slow
    return waiting


def test_a_host_that_takes_its_time_over_one_file_holds_up_no_locks_of_others(
    slow_host: tuple[socket.socket, int],
) -> None:
    channel, listener = slow_host
    waiting = _slow(channel, listener)
    _until(channel, listener, b"q")  # locks, and what goes with a fid
    waiting.go_on()
    _until(channel, listener, b"r")


def test_a_file_that_is_closed_while_it_is_being_locked_stays_locked_for_nobody(
    tmp_path: Path, slow_host: tuple[socket.socket, int]
) -> None:
    channel, listener = slow_host
    waiting = _slow(channel, listener)
    _until(channel, listener, b"c")
    waiting.go_on()
    channel.send(b"r")
    while select.select([channel.fileno(), listener], [], [], 30)[0] == [listener]:  # it is given back
        Waiting(listener).go_on()
    assert channel.recv(1) == b"r"
    host = Host(tmp_path / "slow")
    assert host.free()
    os.close(host.file)


def test_ranges_are_so_many_whether_they_are_locked_or_left(tmp_path: Path, host: Host) -> None:
    with Peer(tmp_path) as peer:
        fid = peer.open(peer.walk("file"), os.O_RDWR)
        assert lock(peer, fid, WRITES) == GIVEN
        left = 1
        while left < 2 * MOST and lock(peer, fid, UNLOCKS, 2 * left, 1) == GIVEN:
            left += 1
        assert left == MOST
        assert lock(peer, fid, UNLOCKS, 2 * left, 1) == lock(peer, fid, WRITES, process=8) == FAILED
        assert not host.free(2 * left, 1) and host.free(2, 1)
        assert lock(peer, fid, UNLOCKS) == GIVEN
        assert host.free() and lock(peer, fid, WRITES, process=8) == GIVEN


def test_locks_go_with_the_fid_and_with_the_session(tmp_path: Path, host: Host) -> None:
    with Peer(tmp_path) as peer:
        fid = peer.open(peer.walk("file"), os.O_RDWR)
        assert lock(peer, fid, WRITES) == GIVEN
        peer.clunk(fid)
        assert host.free() and host.flocks(fcntl.LOCK_EX)
        host.flocks(fcntl.LOCK_UN)
        fid = peer.open(peer.walk("file"), os.O_RDWR)
        assert lock(peer, fid, WRITES) == GIVEN
        peer.version()
        assert host.free()
        peer.attach()
        fid = peer.open(peer.walk("file"), os.O_RDWR)
        assert lock(peer, fid, WRITES) == GIVEN
    del peer
    assert host.free()


def test_a_folder_that_may_only_be_read_can_be_locked(tmp_path: Path, host: Host) -> None:
    os.chmod(tmp_path / "file", 0o444)
    with Peer(tmp_path, read_only=True) as peer:
        fid = peer.open(peer.walk("file"))
        assert lock(peer, fid, WRITES) == GIVEN
        assert not host.flocks(fcntl.LOCK_SH) and not host.locks(fcntl.F_WRLCK)


def test_ranges_that_cannot_be_are_refused(tmp_path: Path, host: Host) -> None:
    from tests.unit.p9.peer import Refused

    with Peer(tmp_path) as peer:
        fid = peer.open(peer.walk("file"))
        for kind, start, length in ((3, 0, 0), (0, 1 << 63, 1), (0, 2, (1 << 63) - 1), (0, 0, 1 << 63)):
            with pytest.raises(Refused) as refused:
                lock(peer, fid, kind, start, length)
            assert refused.value.errno == errno.EINVAL
        assert host.free()


def test_threads_that_wait_for_requests_cost_nothing(tmp_path: Path) -> None:
    """Three of these four wait for the one that takes requests: not by looking again and again."""
    with Peer(tmp_path, workers=4) as peer:
        peer.walk()
        waiting = [Path(f"/proc/self/task/{thread.native_id}/status") for thread in peer._threads]

        def switches() -> int:
            return sum(int(path.read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for path in waiting)

        before, clock = switches(), threading.Event()
        clock.wait(0.3)  # a time to be idle in, not one to wait for anything
        assert switches() - before < 20


def test_no_thread_is_left_where_a_stream_is_closed_while_the_lead_changes_hands(tmp_path: Path) -> None:
    """One would keep the session, and what it has locked."""
    (tmp_path / "file").write_bytes(b"x")
    for _ in range(100):
        peer = Peer(tmp_path, workers=4)
        fid = peer.open(peer.walk("file"), os.O_RDWR)
        peer.send(FSYNC, struct.pack("<II", fid, 0))  # who does it lets another lead
        peer._streams[0].close()
        for thread in peer._threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in peer._threads)
        peer.sockets[0].close()
