"""What two processes of one program say to each other: whatever one of them says, the other does not wait for ever."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from xenia.errors import ConfigError, HypervisorBug
from xenia.toolstack.control.channel import LONGEST, Channel
from xenia.toolstack.isolation.isolated import Remote
from xenia.toolstack.isolation.isolated_process import Process


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    one, other = map(Channel, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    with closing(one), closing(other):
        yield one, other


@pytest.mark.parametrize("answer", ["\x01" * LONGEST, object()])
def test_an_answer_that_cannot_be_said_is_a_fault(ends: tuple[Channel, Channel], answer: Any) -> None:
    one, other = ends
    Process(one)._answer({"id": 7, "arguments": {}}, [], lambda _: answer)
    received = other.receive()
    assert received is not None
    assert received[0]["id"] == 7
    assert received[0]["fault"].startswith("its answer cannot be said: ")


@pytest.mark.parametrize("lack", [MemoryError(), OSError(errno.EMFILE, "Too many open files")])
def test_what_the_host_has_no_more_of_is_no_fault(ends: tuple[Channel, Channel], lack: Exception) -> None:
    one, other = ends

    def call(_: list[int]) -> None:
        raise lack

    Process(one)._answer({"id": 7, "arguments": {}}, [], call)
    received = other.receive()
    assert received is not None
    assert received[0]["refused"].startswith("the host refuses what is needed: ")


@pytest.mark.parametrize("says", [b"{", b"[1]", b"7", b"[" * 9000, b"{}", b'{"id": 99}', b'{"id": 1}', b"\xff"])
def test_nonsense_from_the_other_process_fails_whoever_waits(
    says: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mumbling.py").write_text(
        "import socket, sys\n"
        "channel = socket.socket(fileno=int(sys.argv[1]))\n"
        "channel.recv(65536)\n"
        f"channel.send({says!r})\n"
        "channel.recv(65536)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with closing(Remote("mumbling")) as remote, pytest.raises(HypervisorBug):
        remote.call("dmesg")


def test_a_request_that_is_too_long_is_refused_and_the_next_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "brief.py").write_text(
        "import socket, sys\n"
        "channel = socket.socket(fileno=int(sys.argv[1]))\n"
        "channel.recv(65536)\n"
        'channel.send(b\'{"id": 2, "answer": 5}\')\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with closing(Remote("brief")) as remote:
        with pytest.raises(ConfigError, match="too much at once"):
            remote.call("send", data="x" * LONGEST)
        assert remote.call("send", data="x") == 5
