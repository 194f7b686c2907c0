"""Waiting for a guest's sshd."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.toolstack.networks.network import Network
from xenia.errors import ConfigError
from xenia.toolstack import ssh
from xenia.toolstack.control import remote
from xenia.toolstack.ssh import Way, await_sshd


def way_to(server: socket.socket) -> Way:
    return Way("127.0.0.1", server.getsockname()[1], "guest", Path("/nowhere"))


def test_a_guest_that_is_up_and_has_no_sshd_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "_REFUSALS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:  # as the network has it: taken, and closed at once

        def refuse() -> None:
            for _ in range(100):
                try:
                    server.accept()[0].close()
                except OSError:
                    return

        refusing = threading.Thread(target=refuse)
        refusing.start()
        begun = time.monotonic()
        with pytest.raises(ConfigError, match="the guest is there, and no sshd answers in it"):
            await_sshd(way_to(server))
        assert 0.5 < time.monotonic() - begun < 20
        with pytest.raises(ConfigError, match="no sshd answers in the guest within 1 seconds"):
            await_sshd(way_to(server), 1.0)
        server.shutdown(socket.SHUT_RDWR)
        refusing.join()


def test_a_guest_whose_boot_has_come_to_rest_without_an_sshd_is_told_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "_REST", 0.5)
    boot = [
        {"cpu_time": float(ran), "disks": {"reads": read}} for ran, read in ((1, 10), (2, 10), (2, 20), (2.001, 20))
    ]
    asked: list[object] = []

    def call(guest: str, verb: object) -> object:
        asked.append((guest, verb.word))  # type: ignore[attr-defined]
        return boot.pop(0) if len(boot) > 1 else boot[0]

    monkeypatch.setattr(remote, "call", call)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and nobody listens
        begun = time.monotonic()
        with pytest.raises(ConfigError, match="the guest is there, and no sshd answers in it"):
            await_sshd(replace(way_to(closed), guest="7"))
    assert len(asked) > len(boot) + 3 and set(asked) == {("7", "domain")}
    assert 0.5 < time.monotonic() - begun < ssh._REFUSALS


def test_a_guest_that_has_long_begun_and_has_no_sshd_is_told_at_once_and_no_forward_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with socket.socket() as closed, Network("web@77") as network:
        closed.bind(("127.0.0.1", 0))  # and nobody listens
        way = replace(way_to(closed), made="web@77", begins=False)
        begun = time.monotonic()
        with pytest.raises(ConfigError, match="the guest is there, and no sshd answers in it"):
            await_sshd(way)
        assert time.monotonic() - begun < 5
        ssh.unmake(replace(way, made=None))
        ssh.unmake(way)
        asked = [request for request in network.asked if request["verb"] == "unforward"]
        assert [request["port"] for request in asked] == [way.port]


def test_an_sshd_that_begins_late_is_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def begin() -> None:
            for said in (b"", b"", b"SSH-2.0-x"):
                connection, _ = server.accept()
                connection.sendall(said)
                connection.close()

        beginning = threading.Thread(target=begin)
        beginning.start()
        await_sshd(way_to(server))
        beginning.join()
