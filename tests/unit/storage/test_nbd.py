"""An NBD client whose server hangs, goes away, or means harm."""

import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.storage import nbd, nbd_link
from xenia.storage.layer import Operation, Request
from xenia.storage.nbd import NbdClient, open_nbd

SIZE = 1 << 20
READ, WRITE, DISCONNECT, FLUSH = 0, 1, 2, 3
OPTION_REPLY = 0x3E889045565A9


class Server:
    """Serves zeroes, and whatever was written, until told otherwise: `silent` is how many commands it still answers."""

    def __init__(self, path: Path) -> None:
        self.data = bytearray(SIZE)
        self.silent: int | None = None
        self.greet: Callable[[socket.socket], bool] = greet
        self.connections: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):  # it was closed
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()

    def drop(self) -> None:
        """Let the clients go."""
        while self.connections:
            one = self.connections.pop()
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if not self.greet(connection):
                return
            while True:
                _, _, kind, handle, offset, length = struct.unpack(">IHHQQI", receive(connection, 28))
                data = receive(connection, length) if kind == WRITE else b""
                if kind == DISCONNECT:
                    return
                if self.silent is not None:
                    self.silent -= 1
                    if self.silent < 0:
                        continue
                if kind == WRITE:
                    self.data[offset : offset + length] = data
                answer = bytes(self.data[offset : offset + length]) if kind == READ else b""
                connection.sendall(struct.pack(">IIQ", 0x67446698, 0, handle) + answer)
        except (OSError, struct.error):
            return


def receive(connection: socket.socket, length: int) -> bytes:
    data = connection.recv(length, socket.MSG_WAITALL) if length else b""
    if len(data) < length:
        raise OSError("gone")
    return data


def options(connection: socket.socket) -> Iterator[int]:
    """The options that the client asks for."""
    connection.sendall(b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3))
    receive(connection, 4)
    while True:
        _, option, length = struct.unpack(">QII", receive(connection, 16))
        receive(connection, length)
        yield option


def answer(connection: socket.socket, option: int, kind: int, body: bytes = b"") -> None:
    connection.sendall(struct.pack(">QIII", OPTION_REPLY, option, kind, len(body)) + body)


def greet(connection: socket.socket) -> bool:
    """An export that can be flushed, without anything that is optional."""
    for option in options(connection):
        if option == 7:
            answer(connection, option, 3, struct.pack(">HQH", 0, SIZE, 1 | 1 << 2))
            answer(connection, option, 1)
            return True
        answer(connection, option, 1 << 31 | 1)
    return False


def mute(connection: socket.socket) -> bool:
    return False


def tls_only(connection: socket.socket) -> bool:
    for option in options(connection):
        answer(connection, option, 1 << 31 | 5, b"TLS first")
    return False


def endless(connection: socket.socket) -> bool:
    for option in options(connection):
        while True:
            answer(connection, option, 3, bytes(60000))
    return False


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    found = Server(tmp_path / "s")
    yield found
    found.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nbd, "PATIENCE", 0.2)
    monkeypatch.setattr(nbd, "GREETING", 0.2)
    monkeypatch.setattr(nbd_link, "GREETING", 0.2)
    monkeypatch.setattr(nbd, "PAUSE", 0.0)


@pytest.mark.parametrize(
    ("behaviour", "complaint"),
    [
        (mute, "has not answered for 0 seconds"),
        (tls_only, "talks TLS only, which is not supported"),
        (endless, "replies without end"),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_a_server_that_does_not_greet_is_refused(
    behaviour: Callable[[socket.socket], bool], complaint: str, server: Server, tmp_path: Path
) -> None:
    server.greet = behaviour
    with pytest.raises(ConfigError, match=complaint):
        open_nbd(tmp_path / "s")


def test_a_server_that_takes_no_connection_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xenia.storage.door.CONNECTING", 1)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(str(tmp_path / "s"))
        listener.listen(0)
        first.connect(str(tmp_path / "s"))
        with pytest.raises(ConfigError, match="takes no connection"):
            open_nbd(tmp_path / "s")


@pytest.mark.usefixtures("impatient")
def test_a_server_that_hangs_fails_requests_and_is_taken_up_again(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_nbd(tmp_path / "s") as disk:
        disk.pwrite(b"kept", 0)
        disk.flush()
        server.silent = 0
        with pytest.raises(OSError):
            disk.pread(0, 4)
        server.silent = None
        assert disk.pread(0, 4) == b"kept"
        disk.pwrite(b"more", 4)
    assert server.data[:8] == b"keptmore"
    assert any("it has not answered" in line for line in caplog.messages)
    assert any("is there again" in line for line in caplog.messages)


@pytest.mark.usefixtures("impatient")
def test_what_was_not_answered_is_sent_again_when_a_server_goes_away(server: Server, tmp_path: Path) -> None:
    with open_nbd(tmp_path / "s") as disk:
        server.drop()
        batch = [Request(Operation.WRITE, at, 4096, [memoryview(b"x" * 4096)]) for at in range(0, SIZE, 8192)]
        disk.submit(batch)
        assert not any(one.error for one in batch)
        disk.flush()
    assert server.data == (b"x" * 4096 + bytes(4096)) * (SIZE // 8192)


@pytest.mark.usefixtures("impatient")
def test_a_disk_that_may_have_lost_data_is_only_read(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = open_nbd(tmp_path / "s")
    disk.pwrite(b"risk", 0)
    server.drop()
    assert disk.pread(0, 4) == b"risk"  # this server has lost nothing, but nobody can know
    with pytest.raises(OSError):
        disk.pwrite(b"more", 4)
    with pytest.raises(OSError):
        disk.flush()
    with pytest.raises(OSError, match="not flushed"):
        disk.close()
    assert any("only read from now on" in line for line in caplog.messages)


def test_closing_does_not_wait_for_a_request_that_hangs(server: Server, tmp_path: Path) -> None:
    disk = open_nbd(tmp_path / "s")
    server.silent = 0
    failed = threading.Event()

    def read() -> None:
        with pytest.raises(OSError):
            disk.pread(0, 4096)
        failed.set()

    thread = threading.Thread(target=read)
    thread.start()
    while server.silent == 0:
        os.sched_yield()
    disk.close()
    thread.join(20)
    assert failed.is_set()


def test_a_server_that_is_gone_for_good_is_told_of_and_gives_errors(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = open_nbd(tmp_path / "s")
    server.close()
    (tmp_path / "s").unlink()
    caplog.set_level(logging.WARNING)
    for _ in range(20):
        with pytest.raises(OSError):
            disk.pread(0, 4096)
    disk.close()
    assert len(caplog.messages) == 2  # not one for each request
    assert isinstance(disk, NbdClient)
