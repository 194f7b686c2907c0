"""A command in a guest of its own, as `subprocess.run` runs one on the host.

The guest has a process of its own, which is walled in: `xenia run`, with what it says on an open file of ours.  So
whoever asks needs no thread, no jail and no compiled core, a run that is given up is a process that is ended, and as
many run at once as there are processors.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from signal import Signals
from typing import IO, Any, Unpack

from xenia import interpreter
from xenia.errors import ConfigError, DomainCrash, HypervisorBug
from xenia.toolstack.config import values
from xenia.toolstack.scripting.options import GuestOptions, arguments, in_python

Word = str | bytes | os.PathLike[str] | os.PathLike[bytes]

GRACE = 10.0  # seconds that a run has to give everything back once it was told to end
_BUG, _JAIL = 125, 118  # statuses (docs/exit-statuses.md)
_ENDINGS = {
    "panic": "the guest's kernel panicked",
    "halted": "the guest's kernel stopped without a word",
    "watchdog": "the guest's watchdog fired",
    "lost": "the guest powered off before its command ended",
    "reboot": "the guest rebooted before its command ended",
    "suspend": "the guest suspended itself before its command ended",
}


# What is as for any process.
SUBPROCESS: dict[str, values.Kind] = {
    "args": values.command, "input": values.words_or_octets, "timeout": values.seconds, "check": values.truth,
    "text": values.truth, "encoding": values.encoding, "errors": values.error_handler,
}  # fmt: skip


class Result(subprocess.CompletedProcess[Any]):
    """How a command in a guest ended, and what it wrote: a subprocess.CompletedProcess, whose `returncode` is -N where
    signal N ended the command.

    words   what Xenia itself said meanwhile: warnings, in lines
    """

    def __init__(self, args: Any, returncode: int, stdout: Any, stderr: Any, words: Sequence[str] = ()) -> None:
        super().__init__(args, returncode, stdout, stderr)
        self.words = list(words)


@values.given(**SUBPROCESS, stdin=values.stream, stdout=values.stream, stderr=values.stream)
def run(
    args: Sequence[Word] | str,
    *,
    input: str | bytes | None = None,
    timeout: float | None = None,
    check: bool = False,
    text: bool = False,
    encoding: str | None = None,
    errors: str | None = None,
    stdin: int | IO[Any] | None = subprocess.DEVNULL,
    stdout: int | IO[Any] | None = subprocess.PIPE,
    stderr: int | IO[Any] | None = subprocess.PIPE,
    **guest: Unpack[GuestOptions],
) -> Result:
    """Boot a guest, run a command in it, and answer how that ended and what it wrote.

    args        the command and its arguments; a str is for the guest's shell
    input       what the command reads; without it there is nothing to read
    timeout     seconds that all of it may take, the boot included
    check       raise subprocess.CalledProcessError where the command ends with anything but 0
    text, encoding, errors      str instead of bytes, as in subprocess.run
    stdin, stdout, stderr       for something else than `input` and the Result: open files, or None for your own
    guest       options of the guest: see GuestOptions

    subprocess.TimeoutExpired, with what came so far, where the time is over; the guest is gone then.
    ConfigError where such a guest cannot be had.  DomainCrash where the guest ended before the command did: it
    panicked, was powered off, or crashed for a fault of its own.  Any thread may call this, several at once.
    """
    if input is not None:
        if stdin != subprocess.DEVNULL:
            raise ValueError("input and stdin cannot both be given")
        stdin = subprocess.PIPE
    with Program(args, guest) as program:
        process = subprocess.Popen(
            program.arguments, stdin=stdin, stdout=stdout, stderr=stderr, text=text or None, encoding=encoding,
            errors=errors, **program.options,
        )  # fmt: skip
        with process:
            try:
                out, err = process.communicate(input, timeout)
            except subprocess.TimeoutExpired:
                assert timeout is not None
                out, err = _end(process)
                raise subprocess.TimeoutExpired(args, timeout, out, err) from None
            except BaseException:
                _end(process)
                raise
        return program.result(process.returncode, out, err, check)


def shell(args: Sequence[Word] | str) -> list[str | bytes]:
    """The command as a list.  ConfigError where there is none."""
    if isinstance(args, str):
        return ["/bin/sh", "-c", args]
    if not args:
        raise ConfigError("there is no command: the list is empty")
    return [os.fspath(word) for word in args]


def _end(process: subprocess.Popen[Any]) -> tuple[Any, Any]:
    """Have it give everything back; what it wrote."""
    process.terminate()
    try:
        return process.communicate(timeout=GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()


class Program:
    """`xenia run` with a command, as a process for `subprocess.Popen` or asyncio.

    arguments, options    to start it with
    """

    def __init__(self, args: Sequence[Word] | str, guest: GuestOptions) -> None:
        self._args = args
        words = arguments(guest)
        # It may write as much as it likes there without anybody who reads meanwhile.
        self._status = os.memfd_create("xenia-status")
        self.arguments: list[str | bytes] = [
            *interpreter.command("xenia", "run", "--quiet", f"--status-fd={self._status}"), *words, "--", *shell(args),
        ]  # fmt: skip
        self.options: dict[str, Any] = {
            "pass_fds": [self._status],
            "env": interpreter.environment(),
        }

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._status)

    def result(self, status: int, out: Any, err: Any, check: bool) -> Result:
        """How it ended, that has ended with `status`.  Raises what `run` raises."""
        records = list(self._records())
        ending = next((record for record in records if "ending" in record), None)
        if ending is None or ending["ending"] != "command":
            raise _failure(status, ending, records, err)
        words = [record["warning"] for record in records if "warning" in record]
        result = Result(self._args, -ending["killed"] or ending["status"], out, err, words)
        if check:
            result.check_returncode()
        return result

    def _records(self) -> Iterator[dict[str, Any]]:
        os.lseek(self._status, 0, os.SEEK_SET)
        with open(self._status, encoding="utf-8", closefd=False) as lines:
            for line in lines:
                with suppress(json.JSONDecodeError):  # it was killed while it wrote
                    yield json.loads(line)


def _failure(status: int, ending: dict[str, Any] | None, records: Iterable[dict[str, Any]], err: object) -> Exception:
    """What is raised where the command did not end by itself."""
    wrong = [record["error"] for record in records if "error" in record]
    report = "\n".join(record["text"] for record in records if "text" in record)
    if ending is not None and ending["ending"] in _ENDINGS:
        return DomainCrash(_ENDINGS[ending["ending"]], report)
    if ending is not None and ending["ending"] == "crash":
        return DomainCrash(f"the guest was crashed: {ending['reason']}", report)
    if status < 0:
        return HypervisorBug(f"the guest's process was ended by {Signals(-status).name}")
    if status in (_BUG, _JAIL):
        return HypervisorBug("\n".join([*wrong, report]))
    said = wrong or _said(err)
    return ConfigError(in_python(said[-1]) if said else f"the guest's process ended with status {status}")


def _said(err: object) -> list[str]:
    """What the grammar of the command line complained of."""
    text = err.decode("utf-8", "replace") if isinstance(err, bytes) else err if isinstance(err, str) else ""
    return [line.removeprefix("xenia run: ").removesuffix(" (see 'xenia run --help')") for line in text.splitlines()]
