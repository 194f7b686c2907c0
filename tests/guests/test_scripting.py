"""Guests from Python, as somebody writes it who knows `subprocess`, `pexpect` and `asyncio`."""

import asyncio
import subprocess

import pytest

import xenia
from xenia import DomainCrash, aio
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
