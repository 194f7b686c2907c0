"""Guests from Python, as somebody writes it who knows `subprocess`, `pexpect` and `asyncio`."""

import asyncio
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import xenia
from xenia import ConfigError, Domain, DomainCrash, Machine, aio
from xenia.guests import embedded
from xenia.toolstack.provision.packages import PackageClient

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(not PackageClient.available(), reason="no apt-get on this host to fetch Debian's kernel with"),
]


def test_a_command_in_a_guest_is_as_one_of_the_host() -> None:
    script = "cat; echo wrong >&2; echo $A; pwd; nproc; grep -c . /proc/net/route; kill -9 $$"
    result = xenia.run(
        ["sh", "-c", script.replace("$A", '"$A"')], input="given\n", text=True,
        env={"A": "1  2"}, cwd="/tmp", vcpus=2, net="none", memory="192M",
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (-9, "wrong\n")
    assert result.stdout == "given\n1  2\n/tmp\n2\n1\n"


def test_a_folder_is_seen_by_the_command_which_starts_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given").write_text("by the host")
    assert xenia.run("cat given; echo back > answer", share=".", net="none").stdout == b"by the host"
    assert (tmp_path / "answer").read_text() == "back\n"


def test_nothing_is_imported_of_the_folder_that_one_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json", "socket", "xenia"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'a').write('{name} ')\n")
    monkeypatch.chdir(tmp_path)
    assert xenia.run("true", net="user", share=".").returncode == 0
    with Machine(Machine.memory_for(16 << 20), isolate=True):
        pass
    assert not (tmp_path / "imported").exists()


def test_guests_run_beside_each_other_and_a_loop_goes_on() -> None:
    async def main() -> list[bytes]:
        results = await asyncio.gather(*(aio.run(["expr", str(n), "*", "2"], net="none") for n in range(2)))
        return [result.stdout for result in results]

    assert asyncio.run(main()) == [b"0\n", b"2\n"]


def test_a_panic_under_a_command_is_a_domain_crash_with_the_kernels_last_words() -> None:
    with pytest.raises(DomainCrash, match="panicked") as raised:
        xenia.run("echo c > /proc/sysrq-trigger", net="none")
    assert "sysrq" in raised.value.report.lower()


def test_a_time_that_is_over_leaves_no_guest(tmp_path: object) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        xenia.run(["sleep", "1000"], timeout=0.2, name="scripted")
    assert "scripted" not in subprocess.run(["ps", "axo", "args"], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def domain() -> Iterator[Domain]:
    with Machine.boot("debian", memory="192M", net="none", append="quiet") as domain:
        yield domain


def test_a_command_runs_in_a_guest_that_runs_as_one_of_the_host(domain: Domain) -> None:
    done = domain.run("cat; echo wrong >&2; exit 3", input="ä\r\n", text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (3, "ä\n", "wrong\n")
    with pytest.raises(subprocess.CalledProcessError, match="SIGKILL"):
        domain.run("kill -9 $$", check=True)
    with pytest.raises(subprocess.TimeoutExpired):
        domain.run("exec sleep 100", timeout=0.5, text=True)


def test_a_console_is_talked_to_as_pexpect_does(domain: Domain) -> None:
    domain.console.expect("/ # ", timeout=120)
    domain.console.sendline("echo $((6*7)); uname -r")
    match = domain.console.expect(r"\r\n(\d+)\r\n([\w.-]+)\r\n")
    assert match[1] == "42" and match[2].startswith("6.")
    with pytest.raises(TimeoutError, match=r"(?s)no 'never'.*42"):
        domain.console.expect("never", timeout=0.1)


def test_what_was_said_and_what_comes_true_is_waited_for(domain: Domain) -> None:
    assert domain.wait_for("a guest of Xenia", timeout=120)
    seconds = domain.statistics["seconds"]
    assert domain.wait_for(lambda: domain.statistics["seconds"] > seconds)


def test_a_disk_is_plugged_in_by_its_words(domain: Domain, tmp_path: Path) -> None:
    (tmp_path / "data.img").write_bytes(b"from the host".ljust(4096, b"\0"))
    disk = domain.attach_disk(f"file:{tmp_path / 'data.img'},cow,ro", name="xvdc")
    assert (disk.name, disk.config.read_only) == ("xvdc", True)
    domain.console.sendline("until [ -b /dev/xvdc ]; do sleep 0.1; done; head -c 13 /dev/xvdc; echo .")
    domain.console.expect(r"from the host\.")
    with pytest.raises(ConfigError, match="not there"):
        domain.attach_disk("not there.img")


def test_another_guest_lives_in_the_same_machine_and_none_of_its_own_is_left() -> None:
    size = 64 << 20
    with Machine(Machine.memory_for(size, size)) as machine:
        for name in ("one", "two"):
            demo = Machine.boot("demo", machine=machine, memory=size, name=name)
            demo.console.expect("> ")
        assert [domain.name for domain in machine.domains] == ["one", "two"]
    threads = threading.active_count()
    with Machine.boot("demo", memory="16M") as demo:
        demo.console.expect("> ")
        demo.console.send(b"halt\r")
        with pytest.raises(EOFError):
            demo.console.expect("never")
    assert threading.active_count() == threads


def test_a_guest_in_a_process_of_its_own_is_talked_to_as_well() -> None:
    heard = bytearray()
    with Machine(Machine.memory_for(16 << 20), isolate=True) as machine:
        kernel = embedded()
        assert kernel is not None
        demo = machine.create_domain(kernel, memory=16 << 20, console=heard.extend)
        demo.start()
        demo.console.expect("> ")
        demo.console.send(b"halt\r")
        demo.wait(60)
        with pytest.raises(EOFError):
            demo.console.expect("never")
        assert heard.decode() == demo.console.text
