"""A command in a guest, as who wants it sees it; the guest is a function here."""

import json
import os
import select
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.toolstack.commands.here import start
from xenia.errors import ConfigError
from xenia.toolstack.commands.process import GuestProcess, run


class Guest:
    """Takes a command, and keeps what it was given."""

    def __init__(self) -> None:
        self.files: list[int] = []

    def start(self, streams: Sequence[str], files: Sequence[int]) -> None:
        self.files = [os.dup(one) for one in files]
        self.control = socket.socket(fileno=self.files.pop(0))

    def tell(self, **news: object) -> None:
        self.control.send(json.dumps(news).encode())

    def close(self) -> None:
        self.control.close()
        for one in self.files:
            os.close(one)


def test_one_that_was_waited_for_too_short_is_looked_at_without_waiting() -> None:
    guest = Guest()
    with GuestProcess(guest.start, ["true"]) as process:
        with pytest.raises(TimeoutError):
            process.wait(0.01)
        assert process.poll() is None
        guest.tell(status=3)
        assert process.poll() == 3
    guest.close()


def test_pipes_are_given_to_the_guest_as_such_that_nobody_waits_at_and_stay_as_they_were() -> None:
    guest, (source, target) = Guest(), os.pipe()
    with GuestProcess(guest.start, ["cat"], stdin=source, stdout=target):
        _, stdin, stdout = guest.files
        assert not os.get_blocking(stdin) and not os.get_blocking(stdout)
        assert os.get_blocking(source) and os.get_blocking(target)
        os.write(stdout, b"the same")
        assert os.read(source, 100) == b"the same"
    guest.close()
    os.close(source)
    os.close(target)


def test_a_fifo_with_a_name_whose_writer_has_gone_ends_for_the_guest_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    source = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(source, True)
    with open(tmp_path / "fifo", "wb", buffering=0) as target:
        target.write(b"hi")
    guest = Guest()
    with GuestProcess(guest.start, ["cat"], stdin=source):
        _, stdin = guest.files
        assert not os.get_blocking(stdin) and os.get_blocking(source)
        assert os.read(stdin, 100) == b"hi"
        assert select.select([stdin], [], [], 10)[0]
        assert os.read(stdin, 100) == b""
    guest.close()
    os.close(source)


def test_no_more_is_kept_of_what_a_command_writes_than_was_asked_for() -> None:
    done = run(start, ["sh", "-c", "echo 1234567; yes | head -c 200000 >&2"], most=5)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"12345", b"y\ny\ny")


@pytest.mark.parametrize(
    ("args", "env", "says"),
    [([], {}, "no command"), (["true"], {"": "x"}, "env: ''"), (["true"], {"A=B": "x"}, "env: 'A=B'")],
)
def test_what_cannot_be_run_is_not_asked_for(args: list[str], env: dict[str, str], says: str) -> None:
    def start(streams: Sequence[str], files: Sequence[int]) -> None:
        raise AssertionError

    with pytest.raises(ConfigError, match=says):
        GuestProcess(start, args, env=env)
