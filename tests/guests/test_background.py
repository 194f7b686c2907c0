"""Guests in the background: `run -d`, what they said, how they ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.guests.stock import skip_without
from tests.guests.test_daemon import until
from tests.guests.test_run import LIMIT, XENIA, environment
from xenia.cpu.engines.native import host
from xenia.toolstack.provision.initramfs import FRONTENDS, SHARING

pytestmark = pytest.mark.guest


def xenia(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*XENIA, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment(), timeout=LIMIT,
        check=False,
    )  # fmt: skip


def row(name: str) -> dict[str, Any]:
    """What the list says of it."""
    return next(one for one in json.loads(xenia("list", "--json").stdout) if one["name"] == name)


@pytest.fixture(scope="module")
def daemon() -> Iterator[None]:
    skip_without("amd64", (*FRONTENDS, *SHARING))
    folder = tempfile.mkdtemp(prefix="xb")  # a socket's path is short
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", folder)
        yield
        xenia("daemon", "--stop", "--force")
    assert Path(folder).is_dir()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.usefixtures("daemon")
def test_a_command_in_the_background_is_followed_and_its_output_and_status_outlive_it(
    launcher: Path, tmp_path: Path
) -> None:
    started = xenia("run", "-d", "--net", "none", "--name", "job", "--", "sh", "-c", "echo hello; read word; exit 7")
    assert (started.returncode, started.stdout, started.stderr) == (0, "job\n", "")
    told = xenia("exec", "job", "echo", "from beside")
    assert told.stdout == "from beside\n", told.stderr
    alone = shutil.copy(launcher, tmp_path / "xenia")  # where no interpreter is
    quick = subprocess.run(
        [alone, "exec", "-i", "job", "sh", "-c", "cat; exit 5"], input=b"to it" * 100_000, capture_output=True,
        env={"XDG_RUNTIME_DIR": os.environ["XDG_RUNTIME_DIR"], "PATH": "/nowhere"}, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert (quick.returncode, quick.stdout, quick.stderr) == (5, b"to it" * 100_000, b"")
    assert xenia("stop", "job").returncode == 0
    assert "hello" in xenia("logs", "job").stdout
    assert json.loads(xenia("logs", "--json", "job").stdout)["name"] == "job"
    assert xenia("exec", "job", "true").returncode == 2


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize("engine", ["native", "auto"])
def test_a_guest_in_the_background_has_the_engine_that_it_asks_for(engine: str) -> None:
    if host.lack() is not None:
        refused = xenia("run", "-d", "--engine", "native", "--net", "none", "--", "true")
        assert refused.returncode == 2 and refused.stderr.count("\n") == 1 and "native engine" in refused.stderr
        pytest.skip("the host has no native engine")
    work = "nproc; seq 300000 | sha256sum; seq 300000 | sha256sum; echo ready; read word"
    started = xenia("run", "-d", "--engine", engine, "--vcpus", "2", "--net", "none", "--name", engine, "--",
                    "sh", "-c", work)  # fmt: skip
    assert started.returncode == 0, started.stderr
    until(lambda: "ready" in xenia("logs", engine).stdout)
    (counts,) = [one for one in json.loads(xenia("stats", "--json").stdout) if one["name"] == engine]
    assert (counts["engine"], counts["vcpus"], counts["native_lost"]) == ("native", 2, 0)
    assert counts["native_moves"] > 0
    assert ", native, up " in xenia("stats", engine).stdout
    lines = xenia("logs", engine).stdout.splitlines()
    sums = [line for line in lines if line.endswith("  -")]
    assert "2" in lines and len(sums) == 2 and len(set(sums)) == 1
    assert xenia("stop", engine).returncode == 0


@pytest.mark.usefixtures("daemon")
def test_wait_ends_with_the_status_of_the_command() -> None:
    assert xenia("run", "-d", "--net", "none", "--name", "seven", "--", "sh", "-c", "exit 7").returncode == 0
    followed = xenia("logs", "-f", "seven")
    assert followed.returncode == 0
    assert xenia("wait", "seven").returncode == 7
    assert json.loads(xenia("wait", "--json", "seven").stdout)["exit"] == 7


@pytest.mark.usefixtures("daemon")
def test_a_guest_whose_time_is_over_is_destroyed_and_waited_for_as_that() -> None:
    late = xenia("run", "-d", "--kernel", "demo", "--memory", "16M", "--name", "late", "--timeout", "1")
    assert late.returncode == 0, late.stderr
    assert xenia("wait", "late").returncode == 124


@pytest.mark.usefixtures("daemon")
def test_a_guest_that_reboots_is_waited_for_until_it_ends_for_good() -> None:
    started = xenia("run", "-d", "--kernel", "demo", "--memory", "16M", "--name", "again")
    assert started.returncode == 0, started.stderr
    with subprocess.Popen([*XENIA, "wait", "again"], stdout=subprocess.PIPE, env=environment()) as waiting:
        first = row("again")["domid"]
        keys = pexpect.spawn(XENIA[0], [*XENIA[1:], "console", "again"], env=environment(), timeout=LIMIT)
        keys.expect("> ")
        keys.send("reboot\r")
        until(lambda: row("again")["domid"] != first)
        keys.close(force=True)
        assert waiting.poll() is None
        stopped = xenia("stop", "--time", "0.5", "again")
        assert stopped.returncode == 0, stopped.stderr
        assert waiting.wait(LIMIT) == 143


@pytest.mark.usefixtures("daemon")
def test_what_is_not_there_is_told_in_one_line() -> None:
    for words in (
        ("logs", "nobody"),
        ("wait", "nobody"),
        ("stop", "nobody"),
        ("run", "-d", "--no-jail"),
        ("run", "-d", "--gdb"),
    ):
        refused = xenia(*words)
        assert refused.returncode == 2
        assert refused.stderr.count("\n") == 1, refused.stderr


@pytest.mark.usefixtures("daemon")
def test_a_copy_that_is_killed_on_the_host_leaves_nothing_under_its_name_at_either_end(tmp_path: Path) -> None:
    def copying(*words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*XENIA, "cp", *words], env=environment(), stdin=subprocess.DEVNULL)

    started = xenia("run", "-d", "--net", "none", "--name", "ends", "--memory", "512M", "--", "tail", "-f", "/dev/null")
    assert started.returncode == 0, started.stderr
    large, out = tmp_path / "large", tmp_path / "out"
    out.mkdir()
    large.touch()
    os.truncate(large, 160 << 20)
    assert xenia("exec", "ends", "sh", "-c", "mkdir /to; head -c 160m /dev/zero >/from").returncode == 0
    watch = "echo looks; until ls -A /to | grep .; do :; done"
    with subprocess.Popen(
        [*XENIA, "exec", "ends", "sh", "-c", watch], env=environment(), stdout=subprocess.PIPE
    ) as watching:
        assert watching.stdout is not None and watching.stdout.readline() == b"looks\n"
        with copying(str(large), "ends:/to") as inwards:
            assert watching.wait(LIMIT) == 0
            inwards.kill()
    with copying("ends:/from", str(out / "from")) as outwards:
        until(lambda: any(out.iterdir()))
        outwards.kill()
    assert (inwards.returncode, outwards.returncode) == (-signal.SIGKILL, -signal.SIGKILL), "one had come to its end"
    gone = "while pidof tar || ls -A /to | grep .; do :; done >/dev/null; echo gone"
    assert xenia("exec", "ends", "sh", "-c", gone).stdout == "gone\n"
    assert not (out / "from").exists()
    assert xenia("destroy", "ends").returncode == 0
