"""Standard input that others read of, too: whoever serves a command never waits for it."""

import errno
import os
import pty
import socket

import pytest

from xenia.backends.streams.source import Source


def test_what_somebody_else_has_read_meanwhile_is_not_waited_for() -> None:
    for read_end, write_end in (os.pipe(), [one.detach() for one in socket.socketpair()]):
        source, room = Source(read_end), [memoryview(bytearray(4)), memoryview(bytearray(4))]
        os.write(write_end, b"abcdef")
        assert source.take(room) == 6
        assert b"".join(map(bytes, room))[:6] == b"abcdef"
        with pytest.raises(BlockingIOError):
            source.take(room)
        assert os.get_blocking(read_end)  # others share that
        os.close(write_end)
        assert source.take(room) == 0
        source.close()
        os.close(read_end)


def test_a_terminal_is_read_once_it_is_known_to_be_nobody_elses() -> None:
    keys, screen = pty.openpty()
    source = Source(screen)
    os.write(keys, b"word\n")
    room = [memoryview(bytearray(100))]
    try:
        assert source.take(room) == 5  # a kernel that can
    except OSError as refusal:
        assert refusal.errno == errno.EOPNOTSUPP
        source.wait_from_now_on()
        assert source.take(room) == 5
    source.close()
    os.close(keys)
    os.close(screen)
