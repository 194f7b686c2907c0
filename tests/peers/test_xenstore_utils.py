"""Xen's own xenstore clients, unmodified, against our socket."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from xenia.backends.xenstore.client import Client
from xenia.backends.xenstore.server import Server
from xenia.backends.xenstore.store import Store

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("xenstore-ls") is None, reason="xenstore-utils is not installed"),
]

TIMEOUT = 30


class Tools:
    """The xenstore-* programs, pointed at one server."""

    def __init__(self, path: Path) -> None:
        self.environment = {**os.environ, "XENSTORED_PATH": str(path)}

    def __call__(self, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [f"xenstore-{tool}", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )

    def output(self, tool: str, *arguments: str) -> str:
        done = self(tool, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(Store(), tmp_path / "socket") as server:
        yield server


@pytest.fixture
def client(server: Server) -> Client:
    return server.client()


@pytest.fixture
def tools(server: Server, tmp_path: Path) -> Tools:
    return Tools(tmp_path / "socket")


def test_write_and_read(tools: Tools, client: Client) -> None:
    tools.output("write", "/a/b", "one", "/a/c", "two words")
    assert tools.output("read", "/a/b", "/a/c") == "one\ntwo words\n"
    assert client.read("/a/c") == "two words"
    assert tools("read", "/a/none").returncode != 0


def test_ls_shows_the_tree_with_its_permissions(tools: Tools, client: Client) -> None:
    client.write("/vm/name", "guest")
    client.write("/vm/device/vif/0", "")
    assert tools.output("ls", "/vm") == 'name = "guest"\ndevice = ""\n vif = ""\n  0 = ""\n'
    assert tools.output("ls", "-fp", "/vm/device") == '/vm/device/vif = ""   (n0)\n/vm/device/vif/0 = ""   (n0)\n'


def test_ls_of_a_node_with_more_children_than_a_message_holds(tools: Tools, client: Client) -> None:
    for number in range(500):
        client.mkdir(f"/many/child-number-{number}")
    assert len(tools.output("ls", "/many").splitlines()) == 500


def test_list_and_exists(tools: Tools, client: Client) -> None:
    client.write("/a/b", "")
    client.write("/a/c", "")
    assert tools.output("list", "/a").split() == ["b", "c"]
    assert tools("exists", "/a/b").returncode == 0
    assert tools("exists", "/a/x").returncode == 1


def test_rm(tools: Tools, client: Client) -> None:
    client.write("/a/b/c", "")
    tools.output("rm", "/a/b")
    assert client.directory("/a") == []


def test_rm_tidies_the_empty_nodes_above(tools: Tools, client: Client) -> None:
    client.write("/keep/x", "")
    client.write("/keep/a/b/c", "")
    tools.output("rm", "-t", "/keep/a/b/c")
    assert client.directory("/keep") == ["x"]


def test_chmod(tools: Tools, client: Client) -> None:
    client.write("/a/b/c", "")
    tools.output("chmod", "-r", "/a", "n3", "r4")
    assert client.permissions("/a/b/c").entries() == ["n3", "r4"]
    assert tools.output("ls", "-fp", "/a/b") == '/a/b/c = ""   (n3,r4)\n'


def test_watch(tools: Tools, client: Client) -> None:
    watching = subprocess.Popen(
        ["stdbuf", "-oL", "xenstore-watch", "-n", "3", "/a"],
        env=tools.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    try:
        assert watching.stdout.readline() == "/a\n"
        client.write("/a/b", "1")
        assert watching.stdout.readline() == "/a/b\n"
        client.remove("/a")
        assert watching.stdout.readline() == "/a\n"
        assert watching.wait(TIMEOUT) == 0
    finally:
        watching.kill()
        watching.wait()
        watching.stdout.close()


def test_many_programs_at_once_are_all_served(tools: Tools, client: Client) -> None:
    running = [subprocess.Popen(["xenstore-write", f"/d/{number}", "x"], env=tools.environment) for number in range(10)]
    assert [program.wait(TIMEOUT) for program in running] == [0] * 10
    assert sorted(client.directory("/d")) == sorted(str(number) for number in range(10))
