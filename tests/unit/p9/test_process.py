"""The process of a file server, and whoever asks it for a session."""

from __future__ import annotations

import os
import socket
import struct
import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.p9.peer import ATTACH, GETATTR, LERROR, NO_FID, VERSION, WALK, message, text
from xenia.errors import ConfigError
from xenia.p9 import client
from xenia.p9.client import SERIAL_SIZE, FileServer, open_folder, start_server


def _ask(connection: socket.socket, kind: int, body: bytes) -> tuple[int, bytes]:
    connection.settimeout(30)
    connection.sendall(message(kind, 1, body))
    size, answered, _ = struct.unpack("<IBH", connection.recv(7, socket.MSG_WAITALL))
    return answered, connection.recv(size - 7, socket.MSG_WAITALL) if size > 7 else b""


def _begin(connection: socket.socket) -> None:
    assert _ask(connection, VERSION, struct.pack("<I", 65536) + text("9P2000.L"))[0] == VERSION + 1
    said = struct.pack("<II", 0, NO_FID) + text("") + text("") + struct.pack("<I", 0)
    assert _ask(connection, ATTACH, said)[0] == ATTACH + 1


def test_of_the_hosts_own_root_the_folders_of_its_processes_and_devices_are_not_there() -> None:
    folder = open_folder("/")
    with closing(start_server(folder, read_only=True)) as server:
        os.close(folder)
        with closing(*server.session(1)) as connection:
            _begin(connection)
            for fid, name in enumerate(("dev", "proc", "run", "sys"), 1):
                said = struct.pack("<IIH", 0, fid, 1) + text(name)
                assert _ask(connection, WALK, said) == (LERROR + 1, struct.pack("<I", 2))
            for name in ("usr", "etc"):
                fid += 1
                assert _ask(connection, WALK, struct.pack("<IIH", 0, fid, 1) + text(name))[0] == WALK + 1


def test_each_session_is_its_clients_and_ends_with_the_next(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = open_folder(tmp_path)
    with closing(start_server(folder, read_only=False)) as server:
        os.close(folder)
        (first,) = server.session(1)
        _begin(first)
        second, third = server.session(2)
        assert first.recv(1) == b""
        _begin(second)
        assert _ask(third, WALK, struct.pack("<IIH", 0, 1, 1) + text("file"))[0] == WALK + 1
        assert _ask(second, GETATTR, struct.pack("<IQ", 1, 0))[0] == GETATTR + 1
        with pytest.raises(ConfigError, match="1 to 4 streams"):
            server.session(5)
        for each in (first, second, third):
            each.close()


def test_an_answer_that_came_too_late_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is slow once: what it gave then is closed, and the next one has what he asked for."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    late, late_end = socket.socketpair()
    right, right_end = socket.socketpair()
    with closing(FileServer(ours)) as server, theirs, late_end, right_end:
        monkeypatch.setattr(client, "PATIENCE", 0.05)
        with pytest.raises(ConfigError, match="not answered"):
            server.session(1)
        monkeypatch.setattr(client, "PATIENCE", 30.0)
        socket.send_fds(theirs, [theirs.recv(16)[:SERIAL_SIZE] + b"ready"], [late.fileno()])
        late.close()

        def answer() -> None:
            with right:
                socket.send_fds(theirs, [theirs.recv(16)[:SERIAL_SIZE] + b"ready"], [right.fileno()])

        answering = threading.Thread(target=answer)
        answering.start()
        (mine,) = server.session(1)
        answering.join()
        right_end.sendall(b"here")
        assert mine.recv(4) == b"here"
        assert late_end.recv(1) == b""
        mine.close()
