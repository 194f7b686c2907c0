"""A command that was asked for while the guest runs: its streams, its status, and who asked for it.

Who asked is at the other end of a socket that keeps messages apart (SOCK_SEQPACKET).  He sends words, 32 bits each in
the host's order, whose upper eight bits say what (`Word`); he is sent one object of JSON for each news, the last of
which says how the command ended:

    {"started": true}
    {"status": 0} or {"signal": 9} or {"lost": "why there is neither"}
    {"refused": "why not all of its output could be written"}

Where he goes before that, the command is hung up on: the guest's agent sends its processes SIGHUP, and SIGKILL to those
that are there two seconds later.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from xenia.agent.words import Word
from xenia.backends.streams.device import Streams
from xenia.backends.streams.ring import State
from xenia.backends.streams.source import is_seekable
from xenia.foreign.foreign import Foreign

_U32 = struct.Struct("=I")
_LENGTH = struct.Struct("<I")
_MOST_WORDS = 64  # that are taken at once of who asked


def tell(control: socket.socket, **news: Any) -> None:
    """Send who asked some news, where he is still there."""
    with suppress(OSError):
        control.send(json.dumps(news).encode(), socket.MSG_DONTWAIT)


class Descriptor:
    """A file that one of the streams goes to; who reads it may leave."""

    _CHUNK = 4096  # what is reported writable, and may block all the same, takes this much without (PIPE_BUF)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._may_block = os.get_blocking(descriptor) and not is_seekable(descriptor)
        self.broken = False
        self.why = ""  # it was broken by something else than a reader who left
        self.told = False  # to the guest

    def fileno(self) -> int:
        return self._descriptor

    def put(self, parts: Sequence[memoryview]) -> int:
        """Write as much of these as goes without waiting; how many bytes.  All of them where nobody reads any more."""
        if not self.broken:
            try:
                if self._may_block:
                    parts = [parts[0][: self._CHUNK]] if self._is_ready() else []
                return os.writev(self._descriptor, parts) if parts else 0
            except BlockingIOError:
                return 0
            except OSError as failure:
                self.broken = True
                if not isinstance(failure, BrokenPipeError):
                    self.why = failure.strerror or str(failure)
        return sum(map(len, parts))

    def _is_ready(self) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(0))


class Nowhere:
    """Where a stream goes that nobody wants."""

    broken = told = False
    why = ""

    def fileno(self) -> int:
        return -1

    def put(self, parts: Sequence[memoryview]) -> int:
        """Take them all."""
        return sum(map(len, parts))


def _sink(descriptor: int | None) -> Descriptor | Nowhere:
    return Nowhere() if descriptor is None else Descriptor(descriptor)


class Command(Streams):
    """One, from the moment that the guest's end was found."""

    def __init__(
        self,
        foreign: Foreign,
        port: int,
        ref: int,
        request: bytes,
        control: socket.socket,
        files: Sequence[int | None],
        on_end: Callable[[Command, bool], None],
    ) -> None:
        """request   what is to be run (agent/config.py)
        control   who asked
        files     standard input, output and error; None is nothing
        on_end    called at the end, on the command's own thread, with whether it never began

        The control socket and the files are the command's own from now on, and closed with it.  As for Streams; they
        stay the caller's where it fails, and where it never began: who should have served it ended before he had taken
        the request, and nobody has been told of it.
        """
        self._control = control
        self._files = files
        self._when_over = on_end
        self._is_told = False
        self._ended: dict[str, int] = {}
        self._why_lost = "the guest's agent ended before the command did"
        self._left = False
        self._was_left_waiting = False
        stdin, stdout, stderr = files
        self._sinks = (_sink(stdout), _sink(stderr))
        control.setblocking(False)
        whole = _LENGTH.pack(len(request)) + request
        super().__init__(foreign, port, ref, stdin, *self._sinks, self._over, whole)

    def lose(self, why: str) -> None:
        """The guest has ended: bring out what it left, and end."""
        self._why_lost = why
        self.finish()

    def _more(self) -> Sequence[int]:
        return () if self._left else (self._control.fileno(),)

    def _look(self, ready: set[int]) -> bool:
        if self._control.fileno() in ready:
            self._hear()
        for number, sink in enumerate(self._sinks, 1):
            if sink.broken and not sink.told:
                sink.told = self._say(Word.CLOSE.with_value(number))
        state, status = self._first.state
        if state >= State.RUNS and not self._is_told:
            self._is_told = True
            tell(self._control, started=True)
        if state == State.HAS_EXITED:
            self._ended = {"status": status & 0xFF}
        elif state == State.WAS_KILLED:
            self._ended = {"signal": status & 0x7F}
        if not self._ended and not self._first.is_served:
            self._was_left_waiting = state == State.WAITS and not self._has_request()
            return True
        return bool(self._ended)

    def _faulted(self) -> None:
        self._why_lost = "the guest's agent made no sense"
        self._cancelled = True

    def _must_wait(self) -> None:
        self._why_lost = "this host cannot read its standard input without waiting for it: give it by `cat |`"
        self._cancelled = True

    def _hear(self) -> None:
        """What who asked says."""
        try:
            data = self._control.recv(_MOST_WORDS * _U32.size)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._left = self._cancelled = True
        for (word,) in _U32.iter_unpack(data[: len(data) // _U32.size * _U32.size]):
            if word >> 24 in (Word.SIGNAL, Word.WINDOW):
                self._say(word)

    def _say(self, word: int, *, is_last: bool = False) -> bool:
        said = self._first.say(word, is_last=is_last)
        self._notify()
        return said

    def _take_leave(self) -> None:
        if not self._ended:
            self._first.say(Word.HANG_UP.with_value(), is_last=True)
        self._say(Word.BYE.with_value(), is_last=True)

    def _last_news(self) -> dict[str, Any]:
        if why := self._sinks[0].why:
            return {"refused": f"cannot write to standard output: {why}"}
        return self._ended if self._ended else {"lost": self._why_lost}

    def _over(self) -> None:
        self._let_go()
        if self._was_left_waiting and not self._cancelled and not self._ending:
            self._when_over(self, True)
            return
        for one in self._files:
            if one is not None:
                os.close(one)
        if not self._left:
            tell(self._control, **self._last_news())
        self._control.close()
        self._when_over(self, False)
