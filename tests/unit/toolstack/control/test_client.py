"""Who asks, and what others answer that are no daemon: at the socket of one."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from xenia.cli.exit_status import ExitStatus
from xenia.cli.main import command
from xenia.toolstack.control.control import daemon_path


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"null\n", "makes no sense"),
        (b"[]\n", "makes no sense"),
        (b"{}\n", "makes no sense"),
        (b"\xff\0\n", "makes no sense"),
        (b"[" * 100_000 + b"\n", "makes no sense"),
        (b'{"answer": 7}\n', "no daemon of Xenia's"),
        (b'{"answer": [{"name": 5}]}\n', "no daemon of Xenia's"),
        (b'{"error": "\\u001b[2J\\nno"}\n', "[2J\\nno"),
    ],
)
@pytest.mark.parametrize("words", [["list"], ["wait", "web"], ["exec", "web", "true"], ["daemon", "--status"]])
def test_an_answer_of_somebody_elses_is_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], answer: bytes, says: str,
    words: list[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    server = socket.create_server(str(daemon_path()), family=socket.AF_UNIX)

    def serve() -> None:
        while True:
            try:
                client = server.accept()[0]
            except OSError:
                return
            with client:
                client.recv(4096)
                client.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        status = command(words)
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()
    said = capfd.readouterr().err
    assert status in (ExitStatus.PROBLEM, ExitStatus.USAGE)
    assert said.startswith("xenia: ") and said.count("\n") == 1 and says in said and "\x1b" not in said
