"""`xenia exec` as it is mostly asked for: without all that an interpreter takes long to load.

No grammar, no JSON, little of the standard library: what takes a tenth of a second to load would be most of what a
short command takes.  What is asked for in another way (a terminal, a guest by its number), or does not go well before
the command was handed over, is left to cli/exec.py: it begins from the beginning, and has the words for it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import os
import select
import sys

from xenia.agent.pairs import SEARCH_PATH, command_pairs, encoded
from xenia.errors import ConfigError
from xenia.toolstack.commands.descriptor import open_again
from xenia.toolstack.runtime import probable_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from xenia.cli.voice import Voice

_PATIENCE = 5.0  # seconds for a guest to answer
_MOMENT = 300  # milliseconds
_PIECE = 1 << 16
_SIGNAL = 1  # Word.SIGNAL of agent/words.py
_PASSED_ON = tuple(getattr(_signal, f"SIG{name}") for name in ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2"))


class _Otherwise(Exception):
    """Not in this way."""


class _Unanswered(Exception):
    """It may be carried out all the same: not to be asked for again."""


def attempt(arguments: Sequence[str]) -> int | None:
    """Carry out `xenia exec ARGUMENTS`; its exit status.  None where nothing has happened yet, and cli/exec.py is to do
    it."""
    # What comes while the command is handed over waits until there is somebody to pass it on.
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _PASSED_ON)
    try:
        begun = _begin(arguments)
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
    return begun.status() if isinstance(begun, _Serving) else begun


def _begin(arguments: Sequence[str]) -> _Serving | int | None:
    """The command, handed over; the exit status, or None, where it is not."""
    opened: list[int] = []
    try:
        guest, request, interactive = _read(arguments)
        path, address = _place(guest)
        files, carried = _streams(interactive, opened)
        control = _handed_over(request, path, address, files, opened)
    except (_Otherwise, ConfigError, OSError):
        return None
    except _Unanswered:
        return _tell_unanswered(guest)
    finally:
        for one in opened:
            os.close(one)
    return _Serving(control, carried, guest)


def _tell_unanswered(guest: str) -> int:
    from xenia.cli.exit_status import ExitStatus
    from xenia.cli.voice import Voice

    Voice().error(f"guest '{guest}' does not answer")
    return ExitStatus.USAGE


def _read(arguments: Sequence[str]) -> tuple[str, bytes, bool]:
    """The guest, what its agent is to be told, and whether the command has our standard input."""
    at, interactive, user, directory = 0, False, "root", "/"
    environment = {"PATH": SEARCH_PATH}
    while at < len(arguments) and arguments[at].startswith("-"):
        option, value = arguments[at], arguments[at + 1] if at + 1 < len(arguments) else "-"
        if option in ("-i", "--interactive"):
            interactive, at = True, at + 1
            continue
        if value.startswith("-"):
            raise _Otherwise
        if option in ("-e", "--env"):
            name, given, text = value.partition("=")
            if not given and name not in os.environ:
                raise _Otherwise
            environment[name] = text if given else os.environ[name]
        elif option in ("-w", "--workdir"):
            directory = value
        elif option in ("-u", "--user"):
            user = value
        else:
            raise _Otherwise
        at += 2
    guest, command = "".join(arguments[at : at + 1]), arguments[at + 1 :]
    command = command[1:] if command[:1] == ["--"] else command
    is_plain = guest.isascii() and guest.replace("-", "").replace("_", "").isalnum()
    if not command or not is_plain or guest.isdigit():  # a number may be a domain, or a process
        raise _Otherwise
    pairs = command_pairs(command, environment.items(), directory, user)
    return guest, encoded(pairs, "the command for the guest"), interactive


def _place(guest: str) -> tuple[str, str]:
    """Where the guest answers, and what the request needs besides."""
    folder = probable_directory()
    there = [] if folder is None else os.listdir(folder)
    runs = [one for one in there if one.rpartition(".")[0] == guest and one.rpartition(".")[2].isdigit()]
    if folder is not None and not runs and "daemon" in there:
        return os.path.join(folder, "daemon"), f', "domain": "{guest}"'
    if folder is not None and len(runs) == 1 and "daemon" not in there:
        return os.path.join(folder, runs[0]), ""
    raise _Otherwise


def _streams(interactive: bool, opened: list[int]) -> tuple[dict[str, int], dict[int, int]]:
    """The command's files, and what is carried for them: from a pipe to a terminal, which nobody else is given."""
    files: dict[str, int] = {}
    carried: dict[int, int] = {}
    for name, here in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        os.fstat(here)  # OSError: one of these is closed
        if name == "stdin" and not interactive:
            continue
        if os.isatty(here):
            if name == "stdin":
                raise _Otherwise
            source, files[name] = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(files[name], False)
            opened.append(files[name])
            carried[source] = here
            continue
        files[name] = here
        if (own := open_again(here, os.O_WRONLY if here else os.O_RDONLY)) is not None:
            files[name] = own
            opened.append(own)
    return files, carried


def _handed_over(request: bytes, path: str, address: str, files: dict[str, int], opened: list[int]) -> _socket.socket:
    """Have the command run; the socket that what becomes of it is told on (backends/streams/command.py)."""
    told, control = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    file = os.memfd_create("xenia-command", os.MFD_CLOEXEC)
    opened.append(file)
    while request:
        request = request[os.write(file, request) :]
    streams = ", ".join(f'"{name}"' for name in files)
    line = f'{{"verb": "exec"{address}, "streams": [{streams}]}}\n'.encode()
    handed = b"".join(one.to_bytes(4, sys.byteorder) for one in (told.fileno(), file, *files.values()))
    try:
        answer = _ask(path, line, handed)
        if not answer.startswith(b'{"answer"'):
            raise _Otherwise
    except BaseException:
        control.close()
        raise
    finally:
        told.close()
    return control


def _ask(path: str, line: bytes, handed: bytes) -> bytes:
    """What is answered to a line that open files go with."""
    client, sent = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM), 0
    try:
        client.settimeout(_PATIENCE)
        client.connect(path)
        sent = client.sendmsg([line], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, handed)])
        if sent < len(line):
            client.sendall(line[sent:])
        answer = b""
        while not answer.endswith(b"\n") and (more := client.recv(_PIECE)):
            answer += more
        return answer
    except TimeoutError:
        raise (_Otherwise if sent == 0 else _Unanswered) from None
    finally:
        client.close()


class _Serving:
    """A command that was handed over, until it has ended and what it wrote is out."""

    def __init__(self, control: _socket.socket, carried: dict[int, int], guest: str) -> None:
        self._control, self._carried, self._guest = control, carried, guest
        self._begun = self._interrupted = False
        self._status: int | None = None
        self._voice: Voice | None = None  # once there is something to say
        self._signals, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        _signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        for number in _PASSED_ON:
            if _signal.getsignal(number) is not _signal.SIG_IGN:
                _signal.signal(number, lambda *_: None)

    def status(self) -> int:
        """Carry bytes and signals until then; the exit status."""
        poll = select.poll()
        for descriptor in (self._signals, self._control.fileno(), *self._carried):
            poll.register(descriptor, select.POLLIN)
        waiting: int | None = _MOMENT
        while self._status is None or self._carried:
            ready = {descriptor for descriptor, _ in poll.poll(waiting)}
            waiting = None
            if not ready:
                self._speak().busy("waiting for the guest's agent")
            if self._control.fileno() in ready:
                self._hear()
                if self._status is not None:
                    poll.unregister(self._control.fileno())
            if self._signals in ready and (ended := self._pass_on(os.read(self._signals, _PIECE))):
                return ended
            for source in ready & self._carried.keys():
                if not _carry(source, self._carried[source]):
                    poll.unregister(source)
                    del self._carried[source]
        return self._status

    def _pass_on(self, numbers: bytes) -> int:
        """Send the command signals; the exit status where they end us instead."""
        for number in numbers:
            if not self._begun or (number == _signal.SIGINT and self._interrupted):
                return 128 + number
            self._interrupted = self._interrupted or number == _signal.SIGINT
            try:
                self._control.send((_SIGNAL << 24 | number).to_bytes(4, sys.byteorder), _socket.MSG_DONTWAIT)
            except OSError:
                continue  # it has ended, or takes no more
        return 0

    def _hear(self) -> None:
        """What has become of it."""
        try:
            news = self._control.recv(_PIECE)
        except OSError:
            news = b""
        self._begun = True
        if self._voice is not None:
            self._voice.clear()
        if news.startswith(b'{"status": '):
            self._status = int(news[11:-1])
        elif news.startswith(b'{"signal": '):
            self._status = 128 + int(news[11:-1])
        elif not news.startswith(b'{"started": '):
            self._status = self._complain(news)

    def _complain(self, news: bytes) -> int:
        import json

        from xenia.cli.exit_status import ExitStatus

        told = json.loads(news) if news else {"lost": "the guest is gone"}
        if "refused" in told:
            self._speak().error(told["refused"])
            return ExitStatus.USAGE
        self._speak().error(f"guest '{self._guest}': {told['lost']}")
        return ExitStatus.LOST

    def _speak(self) -> Voice:
        from xenia.cli.voice import Voice

        self._voice = self._voice or Voice()
        return self._voice


def _carry(source: int, target: int) -> bool:
    """Bring what has come to the terminal; whether there may be more."""
    try:
        data = os.read(source, _PIECE)
        is_more = bool(data)
        while data:
            try:
                data = data[os.write(target, data) :]
            except BlockingIOError:  # somebody else has it so
                select.select([], [target], [])
        return is_more
    except OSError:
        return False  # a terminal that hung up
