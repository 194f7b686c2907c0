"""A command in a running guest, as who wants it sees it: much like subprocess.Popen, and subprocess.run.

A guest is whatever can be given the command: `Starter` is that.  A guest of another process is asked over its control
socket (`toolstack/control/client.py`'s `Place.starter`), a domain of this one is called (`Domain.start_command`).

    from xenia.toolstack.commands.process import run
    from xenia.toolstack.control.client import find_one

    result = run(find_one("web").starter, ["uname", "-r"], timeout=5)
    print(result.returncode, result.stdout.decode())
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from io import FileIO
from typing import Any, Self

from xenia.agent.config import AgentConfig, Mode
from xenia.agent.pairs import SEARCH_PATH
from xenia.agent.words import Word
from xenia.errors import ConfigError
from xenia.toolstack.commands.descriptor import open_again
from xenia.toolstack.commands.variables import check_variables

Starter = Callable[[Sequence[str], Sequence[int]], object]
"""Has a guest run a command: `Commands.start`, but that the files stay the caller's."""

_WORD = struct.Struct("=I")
_LARGEST = 0xFFF  # rows or columns
_NEWS = 4096
_PIECE = 1 << 16


class CommandLost(ConfigError):
    """Nobody knows how the command ended: the guest did before it, or its agent."""


class GuestProcess:
    """A command that a guest was asked to run.  What its agent cannot do, `wait` tells.

    returncode   its exit status, 0 to 255; -N where signal N ended it; None while it runs
    started      whether it has begun, as far as that was heard
    """

    def __init__(
        self,
        start: Starter,
        args: Sequence[str | bytes],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        user: str = "root",
        window: tuple[int, int] | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> None:
        """args     the command; its first is looked up along PATH, in the guest
        env      variables in its environment, besides those of a login (PATH, HOME, USER, LOGNAME, SHELL)
        cwd      the folder that it starts in
        user     who it runs as there: NAME[:GROUP], or numbers
        window   rows and columns of the terminal that it gets then: its input is the keys, its output the screen

        stdin, stdout, stderr are open files for its streams; None is nothing to read, and nowhere.  They stay the
        caller's, who may close them.

        ConfigError where the command cannot be said, or the guest refuses it.
        """
        if not args:
            raise ConfigError("there is no command: the list is empty")
        check_variables(env or ())
        rows, columns = window if window is not None else (0, 0)
        request = AgentConfig(
            Mode.COMMAND, tuple(args), {"PATH": SEARCH_PATH, **(env or {})}, directory=cwd, user=user,
            tty=window is not None, rows=rows, columns=columns,
        ).encode()  # fmt: skip
        streams = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
        self.returncode: int | None = None
        self.started = False
        self._lost: ConfigError | None = None
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ExitStack() as stack:
            told = stack.enter_context(theirs)
            file = os.memfd_create("xenia-command", os.MFD_CLOEXEC)
            stack.callback(os.close, file)
            with open(os.dup(file), "wb") as whole:
                whole.write(request)
            used: dict[str, int] = {}
            for name, one in streams.items():
                if one is not None:
                    used[name] = one
                    mode = os.O_RDONLY if name == "stdin" else os.O_WRONLY
                    if (own := open_again(one, mode)) is not None:
                        stack.callback(os.close, own)
                        used[name] = own
            try:
                start(list(used), [told.fileno(), file, *used.values()])
            except BaseException:
                self._control.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """What is readable when `poll` has something to hear."""
        return self._control.fileno()

    def poll(self) -> int | None:
        """`returncode`, as far as it is known.  CommandLost where it will not be; ConfigError where the command never
        began."""
        self._control.settimeout(None)  # else recv waits before it looks
        return self._hear(socket.MSG_DONTWAIT)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; `returncode`.  TimeoutError where it has not in so many seconds; else as `poll`."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            self._control.settimeout(None if end is None else max(end - time.monotonic(), 0.001))
            if (status := self._hear(0)) is not None:
                return status

    def send_signal(self, number: int) -> None:
        """Send it, and what it has started in its process group, a signal."""
        self._say(Word.SIGNAL.with_value(number & 0xFF))

    def resize(self, rows: int, columns: int) -> None:
        """Its terminal has that size now."""
        self._say(Word.WINDOW.with_value(min(rows, _LARGEST) << 12 | min(columns, _LARGEST)))

    def close(self) -> None:
        """Leave.  A command that has not ended is hung up on: SIGHUP, and after two seconds SIGKILL."""
        self._control.close()

    def _say(self, word: int) -> None:
        try:
            self._control.send(_WORD.pack(word), socket.MSG_DONTWAIT)
        except OSError:
            return  # it has ended, or takes no more

    def _hear(self, flags: int) -> int | None:
        while self.returncode is None and self._lost is None:
            try:
                data = self._control.recv(_NEWS, flags)
            except BlockingIOError:
                return None
            except ConnectionError:
                data = b""
            self._take(json.loads(data) if data else {"lost": "the guest is gone"})
        if self._lost is not None:
            raise self._lost
        return self.returncode

    def _take(self, news: Mapping[str, Any]) -> None:
        self.started = True
        match news:
            case {"status": int(status)}:
                self.returncode = status
            case {"signal": int(number)}:
                self.returncode = -number
            case {"lost": str(why)}:
                self._lost = CommandLost(why)
            case {"refused": str(why)}:
                self._lost = ConfigError(why)


def run(
    start: Starter,
    args: Sequence[str | bytes],
    *,
    input: bytes = b"",
    timeout: float | None = None,
    most: int | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str = "/",
    user: str = "root",
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a guest to its end, as subprocess.run does with capture_output.

    input     its standard input, all of it
    timeout   seconds; it is killed then
    most      bytes that are kept of its output, and of its errors; None: all

    The rest is GuestProcess's.  ConfigError where it cannot run; CommandLost where the guest ends before it does;
    subprocess.TimeoutExpired, with what it had written.
    """
    end = None if timeout is None else time.monotonic() + timeout
    with ExitStack() as stack:
        (their_in, our_in), (our_out, their_out), (our_err, their_err) = (_pipe(stack) for _ in range(3))
        os.set_blocking(our_in.fileno(), False)
        process = stack.enter_context(GuestProcess(
            start, args, env=env, cwd=cwd, user=user, stdin=their_in.fileno(), stdout=their_out.fileno(),
            stderr=their_err.fileno(),
        ))  # fmt: skip
        for one in (their_in, their_out, their_err):
            one.close()
        heard = {our_out: bytearray(), our_err: bytearray()}
        try:
            _communicate(our_in, memoryview(input), heard, most, end)
            status = process.wait(None if end is None else max(end - time.monotonic(), 0))
        except TimeoutError:
            process.send_signal(signal.SIGKILL)
            output, errors = (bytes(data) for data in heard.values())
            assert timeout is not None
            raise subprocess.TimeoutExpired(args, timeout, output, errors) from None
        output, errors = (bytes(data) for data in heard.values())
        return subprocess.CompletedProcess(args, status, output, errors)


def _pipe(stack: ExitStack) -> tuple[FileIO, FileIO]:
    source, target = os.pipe2(os.O_CLOEXEC)
    return stack.enter_context(FileIO(source, "rb")), stack.enter_context(FileIO(target, "wb"))


def _communicate(
    target: FileIO, data: memoryview, sources: Mapping[FileIO, bytearray], most: int | None, end: float | None
) -> None:
    """Write all of the data and read all that comes, `most` of which is kept.  TimeoutError where that is not so by
    then."""
    with selectors.DefaultSelector() as selector:
        for source in sources:
            selector.register(source, selectors.EVENT_READ)
        selector.register(target, selectors.EVENT_WRITE)
        while selector.get_map():
            if end is not None and time.monotonic() >= end:
                raise TimeoutError
            for key, _ in selector.select(None if end is None else max(end - time.monotonic(), 0)):
                assert isinstance(key.fileobj, FileIO)
                if key.fileobj is not target:
                    more = os.read(key.fd, _PIECE)
                    kept = sources[key.fileobj]
                    kept += more if most is None else more[: most - len(kept)]
                    is_done = not more
                else:
                    try:
                        data = data[os.write(key.fd, data[:_PIECE]) :] if data else data
                    except BrokenPipeError:
                        data = data[:0]
                    is_done = not data
                if is_done:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()


def decoded(data: bytes | None, encoding: str | None, errors: str | None) -> Any:
    """As subprocess decodes what a command wrote: lines end with a newline alone."""
    if data is None or encoding is None:
        return data
    return data.decode(encoding, errors or "strict").replace("\r\n", "\n").replace("\r", "\n")
