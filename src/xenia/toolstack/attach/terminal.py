"""The operator's end of a guest's console.

On a terminal the keys go to the guest as they are typed: the terminal is raw while the console is attached, and the
guest's own tty echoes, edits and turns Ctrl-C into a signal.  One key is ours: Ctrl-] leaves, as in `xl console`.
Whatever happens, the terminal is given back as it was found: by `restore` on every way out of Python, and by a guardian
process when this one dies without coming back to Python (SIGKILL, a fault in compiled code).

Without a terminal nothing is changed: bytes pass in both directions as they are, and the end of input ends nothing.
"""

from __future__ import annotations

import os
import select
import stat
import subprocess
import termios
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from xenia.toolstack.commands.descriptor import open_again

ESCAPE = b"\x1d"  # Ctrl-]

# Its standard input is a pipe from us, its standard output the terminal.  A line says that all is well; the end of the
# pipe without one, that we died.
_GUARDIAN = 'trap "" HUP INT QUIT TERM TSTP TTIN TTOU; read -r done || stty "$0" <&1'

_IFLAG, _OFLAG, _CFLAG, _LFLAG, _ISPEED, _OSPEED, _CC = range(7)
_Attributes = list[int | list[bytes | int]]


def _stty(attributes: _Attributes) -> str:
    """The attributes in the form of `stty -g`, which any stty takes back."""
    flags = [f"{attributes[index]:x}" for index in (_IFLAG, _OFLAG, _CFLAG, _LFLAG)]
    characters = attributes[_CC]
    assert isinstance(characters, list)
    return ":".join(flags + [f"{key if isinstance(key, int) else key[0]:x}" for key in characters])


def _raw(attributes: _Attributes) -> _Attributes:
    """The attributes of cfmakeraw(3): eight bits, no echo, no editing, no signals, no output processing."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, characters = attributes
    assert isinstance(iflag, int) and isinstance(oflag, int) and isinstance(cflag, int) and isinstance(lflag, int)
    assert isinstance(characters, list)
    iflag &= ~(
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
        | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
    )  # fmt: skip
    oflag &= ~termios.OPOST
    lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    characters = list(characters)
    characters[termios.VMIN] = 1
    characters[termios.VTIME] = 0
    return [iflag, oflag, cflag, lflag, ispeed, ospeed, characters]


class Terminal:
    """Standard input and output as one console: raw within the `with` block, when both are a terminal.

    `keys` False leaves even a terminal as it is: lines, echo and Ctrl-C stay the host's.
    """

    def __init__(self, stdin: int = 0, stdout: int = 1, *, keys: bool = True) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.is_tty = keys and os.isatty(stdin) and os.isatty(stdout)
        self._group = os.getpgrp()  # asked before there are walls
        self._saved: _Attributes | None = None
        self._guardian: subprocess.Popen[bytes] | None = None

    def size(self) -> tuple[int, int] | None:
        """(rows, columns) of the terminal, or None where there is none or it does not know."""
        try:
            columns, rows = os.get_terminal_size(self.stdout)
        except OSError:
            return None
        return (rows, columns) if rows > 0 and columns > 0 else None

    def __enter__(self) -> Self:
        """Make the terminal raw; without a terminal, or in the background of one, nothing."""
        self.guard()
        self.resume()
        return self

    def guard(self) -> None:
        """Note how the terminal is, and start the guardian, while a process may still be started."""
        if self.is_tty and self._saved is None:
            saved: _Attributes = termios.tcgetattr(self.stdin)
            self._start_guardian(saved)
            self._saved = saved

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restore()

    def resume(self) -> None:
        """Make the terminal raw again after the process was stopped and continued (SIGCONT): the shell has reset it."""
        if self._saved is not None and self.in_foreground():
            termios.tcsetattr(self.stdin, termios.TCSADRAIN, _raw(self._saved))

    def restore(self) -> None:
        """Give the terminal back as it was found.  May be called at any time, any number of times."""
        if self._saved is None:
            return
        saved, self._saved = self._saved, None
        with suppress(termios.error):  # the terminal itself may be gone (hung up)
            if self.in_foreground():
                termios.tcsetattr(self.stdin, termios.TCSADRAIN, saved)
        self._dismiss_guardian()

    def in_foreground(self) -> bool:
        """Whether standard input is this process's to read and to change.

        In the background of a terminal it is somebody else's, and the kernel stops whoever tries (SIGTTIN, SIGTTOU):
        one that was asked to end would not.
        """
        try:
            return os.tcgetpgrp(self.stdin) == self._group
        except OSError:  # a terminal without job control, for us
            return True

    def _start_guardian(self, saved: _Attributes) -> None:
        with suppress(OSError):  # without a shell on this host the other ways to restore remain
            self._guardian = subprocess.Popen(
                ["/bin/sh", "-c", _GUARDIAN, _stty(saved)],
                stdin=subprocess.PIPE,
                stdout=self.stdin,
                stderr=subprocess.DEVNULL,
            )

    def _dismiss_guardian(self) -> None:
        if self._guardian is not None:
            with suppress(OSError):  # it may be gone already
                self._guardian.communicate(b"\n")
            self._guardian = None


def leave_key(typed: bytes) -> tuple[bytes, bool]:
    """The part of `typed` that is meant for the guest, and whether the leave key followed it."""
    before, found, _ = typed.partition(ESCAPE)
    return before, bool(found)


class Output:
    """A descriptor that one thread fills and another may give up: writes wait for room, and `cancel` ends the wait.

    The descriptor's own flags are left alone, for other processes share them (O_NONBLOCK on a terminal would reach the
    shell); a pipe is opened once more, for us alone.  A reader that went away is remembered in `broken`, not raised: it
    ends the session and is no fault.  Any other failure is in `error` as well.  `on_broken` is then called, on the
    writing thread.
    """

    # What is reported writable, and may block all the same, takes this much without (PIPE_BUF).
    _CHUNK = 4096

    def __init__(self, descriptor: int, on_broken: Callable[[], None] | None = None) -> None:
        self._descriptor = descriptor
        self._on_broken = on_broken
        self._cancel_read, self._cancel_write = os.pipe2(os.O_CLOEXEC)
        self._own = open_again(descriptor, os.O_WRONLY)
        self._may_block = self._own is None and not _never_blocks(descriptor)
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._poll.register(self._cancel_read, select.POLLIN)
        self.broken = False
        self.error: OSError | None = None

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: bytes) -> None:
        """Write all of `data`, or as much as goes before `cancel` or the reader's end."""
        view = memoryview(data)
        while view and not any(descriptor == self._cancel_read for descriptor, _ in self._poll.poll()):
            view = view[self.put([view]) :]

    def put(self, parts: Sequence[memoryview]) -> int:
        """Write as much of these as goes without waiting; how many bytes.  All of them where nobody reads any more."""
        if self.broken:
            return sum(map(len, parts))
        if self._may_block:
            if not any(descriptor == self._descriptor for descriptor, _ in self._poll.poll(0)):
                return 0
            parts = [parts[0][: self._CHUNK]]
        try:
            return os.writev(self._own if self._own is not None else self._descriptor, parts)
        except BlockingIOError:
            return 0
        except OSError as error:
            # Without its frames, which hold the parts: pages of a guest's.
            self.error = None if isinstance(error, BrokenPipeError) else error.with_traceback(None)
            self.broken = True
            if self._on_broken is not None:
                self._on_broken()
            return sum(map(len, parts))

    def cancel(self) -> None:
        """Let go of every write, now and from now on."""
        os.write(self._cancel_write, b"x")

    def close(self) -> None:
        """Free what this object opened; the descriptor itself stays open."""
        os.close(self._cancel_read)
        os.close(self._cancel_write)
        if self._own is not None:
            os.close(self._own)


def _never_blocks(descriptor: int) -> bool:
    """Whether writing waits for no other process."""
    with suppress(OSError):
        mode = os.fstat(descriptor).st_mode
        return stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not os.isatty(descriptor))
    return False
