"""Debian's kernel, whose programs run on the host's own processor, and on the emulated one: they say the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.guests.shell import Shell
from tests.stubs import stubs
from xenia.cpu.engines.native import host
from xenia.errors import ConfigError
from xenia.toolstack.config.machine import MIB
from xenia.toolstack.machine.machine import Machine

pytestmark = pytest.mark.guest

PROGRAMS = {
    "computes": "i=0; x=7; while [ $i -lt 4000 ]; do x=$(((x * 1103515245 + 12345) % 2147483648)); i=$((i+1)); done; "
    "echo $x",
    "hashes": "seq 1 20000 | sha256sum",
    "compresses": "seq 1 20000 | gzip -9 | gunzip | md5sum",
    "makes many system calls": "seq 1 1000 > /tmp/n; dd if=/tmp/n bs=1 2>/dev/null | md5sum",
    "starts many processes": "i=0; while [ $i -lt 10 ]; do /bin/true; i=$((i+1)); done; echo $i",
    "has a pipe of processes": "seq 1 2000 | tr 0-9 a-j | sort -r | uniq | wc -c",
    "is killed for a fault": "sh -c 'kill -SEGV $$'; echo $?",
    "is interrupted": "sh -c 'trap \"echo caught; exit 3\" USR1; kill -USR1 $$; while :; do :; done'; echo $?",
    "sorts": "seq 1 800 | awk '{print ($1 * 7919) % 5003}' | sort -n | md5sum",
}


def answers(engine: str) -> tuple[dict[str, str], dict[str, int]]:
    with Machine(Machine.memory_for(128 * MIB), engine=engine, check=True) as machine:
        shell = Shell(machine, engine, ())
        shell.domain.start()
        said = {name: shell.run(program)[1] for name, program in PROGRAMS.items()}
        statistics = shell.domain.statistics
        shell.domain.destroy()
        assert not stubs(), "they are no more when their domain's memory is given back"
        return said, statistics


@pytest.fixture(scope="module")
def emulated() -> dict[str, str]:
    return answers("emulated")[0]


@pytest.fixture(scope="module", params=["eager", "looking"])
def both(
    request: pytest.FixtureRequest, emulated: dict[str, str]
) -> Iterator[tuple[dict[str, str], dict[str, str], dict[str, int]]]:
    try:
        host.require()
    except ConfigError as lack:
        pytest.skip(str(lack))
    if request.param == "looking" and not host.hides_cpuid():
        pytest.skip("here that is the same")
    native, statistics = answers(request.param)
    yield emulated, native, statistics


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_that(name: str, both: tuple[dict[str, str], dict[str, str], dict[str, int]]) -> None:
    emulated, native, _ = both
    assert native[name] == emulated[name] != ""


def test_they_ran_natively(both: tuple[dict[str, str], dict[str, str], dict[str, int]]) -> None:
    statistics = both[2]
    assert statistics["native_syscalls"] > 5000
    assert statistics["native_lost"] == 0
