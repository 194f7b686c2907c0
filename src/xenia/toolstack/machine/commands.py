"""Commands that are run in a guest while it runs: the guest's agent is found in xenstore, and given the command.

The agent keeps one process waiting, which data/xenia-agent in the guest's home names (agent/exec.h).  Who binds its
port has it for himself.  Where that leads nowhere, the agent is asked for another one by control/xenia-agent; and a
command goes to the next one, where who had it ended before he took it.
"""

from __future__ import annotations

import logging
import os
import re
import select
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from xenia.backends.streams.command import Command, tell
from xenia.errors import ConfigError
from xenia.foreign.fault import FrontendFault
from xenia.foreign.foreign import Foreign
from xenia.machine.thread import HostThread
from xenia.toolstack.commands.process import decoded, run
from xenia.toolstack.config import values
from xenia.toolstack.config.values import given
from xenia.toolstack.machine.store_layout import AGENT_WAITS, ask_agent, home
from xenia.toolstack.releases import Releases
from xenia.xenstore.client import Client
from xenia.xenstore.error import StoreError

if TYPE_CHECKING:  # loaded by who copies files
    from xenia.toolstack.commands.extraction import Copied

_log = logging.getLogger(__name__)

STREAMS: Final = ("stdin", "stdout", "stderr")
MOST: Final = 64  # that run in one guest at once
LONGEST_REQUEST: Final = 1 << 20
_VERSION: Final = 1
_BOOTED: Final = 30.0  # seconds after which a guest's agent has come, or is none
_LONGEST_BOOT: Final = 600  # and where one is known to come
_ANSWER: Final = 5.0  # seconds for the agent to have somebody wait
_SOON: Final = 1.0  # and to do so of its own accord
_GLANCE: Final = 0.2  # seconds until it is looked again whether anybody still wants the command
_MOST_GIVEN: Final = 16  # times that a command is given to somebody who ends before he takes it
_OUT_OF_MEMORY: Final = "Out of memory: "  # Linux, of a process that it ends
_NUMBERS = re.compile(r"(\d{1,10}) (\d{1,10}) (\d{1,10}) (\d{1,10})")


class _NobodyWaits(Exception):
    """Nobody is to be had just now.

    soon   the next one is being made
    """

    def __init__(self, *, soon: bool = False) -> None:
        super().__init__()
        self.soon = soon


@dataclass
class _Asked:
    """A command, and who asked for it: see Command.

    nr_given    how often it was given to somebody who did not take it
    """

    request: bytes
    control: socket.socket
    files: Sequence[int | None]
    nr_given: int = 0

    @property
    def is_wanted(self) -> bool:
        """Whether whoever asked is still there."""
        poll = select.poll()
        poll.register(self.control, 0)
        return not poll.poll(0)

    def refuse(self, why: str) -> None:
        """It does not begin."""
        for one in self.files:
            if one is not None:
                os.close(one)
        tell(self.control, refused=why)
        self.control.close()


class Commands:
    """Those of one domain.

    agent_comes     whether its RAM disk is known to have an agent, which will come however slowly the guest boots
    """

    def __init__(self, foreign: Foreign, keys: Client, said: Callable[[], str]) -> None:
        """said   what is known of the guest's console"""
        self._foreign, self._keys, self._said = foreign, keys, said
        self._created = time.monotonic()
        self.agent_comes = False
        self._taking = threading.Lock()  # held by who takes the process that waits
        self._taken = ""  # the last one's numbers
        self._lock = threading.Lock()
        self._running: set[Command] = set()
        self._nr_waiting = 0
        self._over = ""  # why there will be no more

    def start(self, streams: Sequence[str], files: list[int]) -> None:
        """Have a command run; what becomes of it is told on its control socket (`Command`).

        streams   which of STREAMS have a file
        files     a socket to tell it on, a file with what the agent is to run (AgentConfig.encode), and those; the
                  command takes them out of the list

        ConfigError where they are something else.  What cannot be is told on the socket as {"refused": why}.
        """
        told, described, *rest = files
        request = os.pread(described, LONGEST_REQUEST + 1, 0)
        if len(request) > LONGEST_REQUEST:
            raise ConfigError(f"the command is longer than {LONGEST_REQUEST} bytes")
        try:
            control = socket.socket(fileno=told)
        except OSError:
            raise ConfigError("the request comes with something else than a socket to tell of the command") from None
        os.close(described)
        files.clear()
        opened = iter(rest)
        asked = _Asked(request, control, [next(opened) if one in streams else None for one in STREAMS])
        with self._lock:
            full = len(self._running) + self._nr_waiting >= MOST
            over = self._over
            self._nr_waiting += not full and not over
        if full or over:
            asked.refuse(over or f"{MOST} commands run in it already")
            return
        self._begin(asked)

    def _begin(self, asked: _Asked) -> None:
        """See to a command that is counted as one that waits."""
        try:
            HostThread(lambda: self._start(asked), f"command d{self._foreign.domid}").start()
        except OSError as refusal:
            with self._lock:
                self._nr_waiting -= 1
            asked.refuse(str(refusal.strerror))

    def lose(self, why: str) -> None:
        """The guest has ended: its commands end with what they have written."""
        with self._lock:
            self._over = why
            running = list(self._running)
        for command in running:
            command.lose(why)

    def close(self) -> None:
        """End them all, and let go of the guest's pages."""
        with self._lock:
            self._over = self._over or "it is gone"
            running = list(self._running)
        with Releases() as releases:
            for command in running:
                command.lose(self._over)
                releases.do(command.close)

    def _start(self, asked: _Asked) -> None:
        try:
            self._take(asked)
        except ConfigError as refusal:
            asked.refuse(str(refusal))
        except Exception as failure:
            _log.exception("a command did not begin")
            asked.refuse(f"a fault in Xenia ({type(failure).__name__})")
        finally:
            with self._lock:
                self._nr_waiting -= 1

    def _take(self, asked: _Asked) -> None:
        """Give the command to who waits.  ConfigError where nobody comes."""
        came = threading.Event()
        key = f"{home(self._foreign.domid)}/{AGENT_WAITS}"
        with self._taking, closing(self._keys.watch(key, lambda _: came.set())):
            begun, knocked = time.monotonic(), None
            while asked.is_wanted and not self._over:
                came.clear()
                try:
                    self._give(asked)
                    return
                except _NobodyWaits as nobody:
                    now, soon = time.monotonic(), nobody.soon
                if knocked is None and (not soon or now - begun > _SOON):
                    knocked = now
                    ask_agent(self._keys, self._foreign.domid)
                if knocked is not None and now - knocked > _ANSWER and (why := self._why_nobody(now - self._created)):
                    raise ConfigError(why)
                came.wait(_GLANCE)
            raise ConfigError(self._over or "nobody wants it any more")

    def _ended(self, command: Command, asked: _Asked, *, never_began: bool) -> None:
        """It goes to who waits next, where it never began."""
        with self._lock:
            self._running.discard(command)
            self._nr_waiting += never_began
        if never_began:
            self._begin(asked)

    def _waiting(self) -> str | None:
        try:
            return self._keys.get(f"{home(self._foreign.domid)}/{AGENT_WAITS}")
        except StoreError:
            return None

    def _give(self, asked: _Asked) -> None:
        said = self._waiting()
        found = _NUMBERS.fullmatch(said) if said is not None else None
        if found is None or found[0] == self._taken:
            raise _NobodyWaits(soon=found is not None)
        version, _, port, ref = map(int, found.groups())
        if not port:
            raise _NobodyWaits
        if version != _VERSION:
            raise ConfigError(f"its agent is of another version of Xenia's ({version}, not {_VERSION}): boot it anew")
        self._taken = found[0]
        if asked.nr_given == _MOST_GIVEN:
            raise ConfigError(f"its agent ended {_MOST_GIVEN} times before it had taken the command")

        def on_end(command: Command, never_began: bool) -> None:
            self._ended(command, asked, never_began=never_began)

        try:
            with self._lock:
                if self._over:
                    raise ConfigError(self._over)
                self._running.add(Command(self._foreign, port, ref, asked.request, asked.control, asked.files, on_end))
            asked.nr_given += 1
        except OSError as refusal:
            raise ConfigError(f"the host refuses what a command takes: {refusal.strerror or refusal}") from None
        except FrontendFault as fault:
            _log.info("nobody waits where the agent of d%d says: %s", self._foreign.domid, fault)
            raise _NobodyWaits from fault

    def _why_nobody(self, age: float) -> str:
        """Why nobody will come, of a guest of so many seconds; "" where somebody may."""
        if (said := self._waiting()) is not None:
            found = _NUMBERS.fullmatch(said)
            if found is not None and not int(found[3]):
                if int(found[4]):
                    return f"it has no memory left for a command: {int(found[4]) >> 10} MiB {self._of_memory()}"
                return "its kernel shares no memory with who asks: it lacks the modules xen-evtchn and xen-gntalloc"
            if _OUT_OF_MEMORY in self._said():
                return (
                    f"its agent does not answer, and its kernel ended processes when no memory was {self._of_memory()}"
                )
            return "its agent does not answer: it was ended, or the guest is busy (xenia logs and console say more)"
        if self.agent_comes:
            late = f"its agent has not come in {_LONGEST_BOOT} seconds: its console says what it does (xenia console)"
            return late if age > _LONGEST_BOOT else ""
        none = "it has no agent: guests have one that boot Linux with Xenia's own RAM disk, which is without --initrd"
        return none if age > _BOOTED else ""

    def _of_memory(self) -> str:
        total = int(self._keys.get(f"{home(self._foreign.domid)}/memory/target") or 0) >> 10
        return f"free of {total} MiB; end something there, delete files that are in its RAM, or give it more (--memory)"


class RunsCommands(ABC):
    """A domain, as far as commands in it are concerned."""

    @abstractmethod
    def start_command(self, streams: Sequence[str], files: list[int]) -> None:
        """Have the guest's agent run a command (`Commands.start`)."""

    @given(
        args=values.command, input=values.words_or_octets, timeout=values.seconds, check=values.truth,
        text=values.truth, encoding=values.encoding, errors=values.error_handler, env=values.variables, cwd=values.text,
        user=values.text,
    )  # fmt: skip
    def run(
        self,
        args: Sequence[str | bytes | os.PathLike[str]] | str,
        *,
        input: bytes | str = b"",
        timeout: float | None = None,
        check: bool = False,
        text: bool = False,
        encoding: str | None = None,
        errors: str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        user: str = "root",
    ) -> subprocess.CompletedProcess[Any]:
        """Run a command in the guest, by Xenia's agent there; what it wrote and how it ended, as subprocess.run.

        args    a str is for the guest's shell
        check   raise subprocess.CalledProcessError where it ends with anything but 0
        text, encoding, errors   str instead of bytes

        See `toolstack/commands/process.py`: `run` says what the arguments are, and `GuestProcess(domain.starter, ...)`
        is for a command that is to be talked with meanwhile.
        """
        command = ["/bin/sh", "-c", args] if isinstance(args, str) else [os.fspath(word) for word in args]
        coding, strict = encoding or ("utf-8" if text or errors else None), errors or "strict"
        data = input.encode(coding or "utf-8", strict) if isinstance(input, str) else input
        try:
            done = run(self.starter, command, input=data, timeout=timeout, env=env, cwd=cwd, user=user)
        except subprocess.TimeoutExpired as late:
            late.stdout, late.stderr = (decoded(data, coding, strict) for data in (late.stdout, late.stderr))
            raise
        output, wrong = decoded(done.stdout, coding, strict), decoded(done.stderr, coding, strict)
        result = subprocess.CompletedProcess(args, done.returncode, output, wrong)
        if check:
            result.check_returncode()
        return result

    @given(sources=values.FILES, path=values.text, recursive=values.truth, user=values.text)
    def copy_in(
        self,
        sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        path: str,
        *,
        recursive: bool = False,
        user: str = "root",
    ) -> Copied:
        """Copy files of the host's into the guest, as `xenia cp` does: see `toolstack/commands/copy.py`."""
        from xenia.toolstack.commands.copy import copy_in

        files = [sources] if isinstance(sources, str | os.PathLike) else sources
        return copy_in(self.starter, files, path, recursive=recursive, user=user)

    @given(path=values.text, target=values.file, recursive=values.truth, user=values.text)
    def copy_out(
        self, path: str, target: str | os.PathLike[str], *, recursive: bool = False, user: str = "root"
    ) -> Copied:
        """Copy a file of the guest's, or with `recursive` a folder, to the host."""
        from xenia.toolstack.commands.copy import copy_out

        return copy_out(self.starter, path, target, recursive=recursive, user=user)

    def starter(self, streams: Sequence[str], files: Sequence[int]) -> None:
        """Have it run a command: a Starter."""
        copies: list[int] = []
        try:
            for one in files:
                copies.append(os.dup(one))
            self.start_command(streams, copies)
        finally:
            for one in copies:
                os.close(one)
