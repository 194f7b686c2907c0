"""`xenia.run` and its endings, with a program in the place of the guest's process."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import xenia
from xenia import ConfigError, DomainCrash, HypervisorBug, Result, aio

Stand = Callable[[str], None]


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stand:
    """Has a shell script run where a guest would be; $status is the file for how it ended."""

    def stand(script: str) -> None:
        path = tmp_path / "program"
        path.write_text(
            "#!/bin/sh\nfor word; do case $word in --status-fd=*) status=/proc/self/fd/${word#*=}; esac; done\n"
            + script
        )
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return stand


def both(*args: Any, **options: Any) -> Result:
    """The same of `xenia.run` and of `xenia.aio.run`: what they answer or raise agrees."""

    def outcome(call: Callable[[], Result]) -> object:
        try:
            return vars(call())
        except Exception as error:
            return type(error), error.args, vars(error)

    assert outcome(lambda: xenia.run(*args, **options)) == outcome(lambda: asyncio.run(aio.run(*args, **options)))
    return xenia.run(*args, **options)


ENDED = """echo '{"ending": "command", "status": %d, "killed": %d, "reason": ""}' >>$status"""

WAIT = "sleep 60 >/dev/null 2>&1 & wait $!"  # and holds no stream open


def test_a_result_is_a_completed_process(stand_in: Stand) -> None:
    stand_in("cat; echo wrong >&2\n" + ENDED % (3, 0))
    result = both(["cmd", Path("x")], input=b"given")
    assert isinstance(result, subprocess.CompletedProcess)
    assert (result.args, result.returncode) == (["cmd", Path("x")], 3)
    assert (result.stdout, result.stderr, result.words) == (b"given", b"wrong\n", [])


def test_a_command_that_a_signal_ended_has_its_number_below_zero(stand_in: Stand) -> None:
    stand_in(ENDED % (137, 9))
    assert both("x").returncode == -9
    with pytest.raises(subprocess.CalledProcessError, match="SIGKILL"):
        both("x", check=True)


def test_text_is_decoded_as_subprocess_does_it(stand_in: Stand) -> None:
    stand_in("cat\n" + ENDED % (0, 0))
    assert both("x", input="äh\r\n", text=True).stdout == "äh\n"
    assert both("x", input="ä", encoding="latin-1").stdout == "ä"
    assert both("x", input=b"\xff", text=False).stdout == b"\xff"
    with pytest.raises(UnicodeDecodeError):
        asyncio.run(aio.run("x", input=b"\xff", text=True))


def test_a_time_that_is_over_ends_it_and_brings_what_came_so_far(stand_in: Stand, tmp_path: Path) -> None:
    stand_in(f"trap 'echo last; touch {tmp_path}/ended; exit 143' TERM; echo first; echo e >&2; {WAIT}")
    with pytest.raises(subprocess.TimeoutExpired) as raised:
        both("x", timeout=0.5, text=True)
    so_far: list[object] = [raised.value.stdout, raised.value.stderr]
    assert (so_far, raised.value.timeout) == (["first\nlast\n", "e\n"], 0.5)
    assert (tmp_path / "ended").exists()


def test_a_task_that_is_cancelled_takes_its_guest_with_it(stand_in: Stand, tmp_path: Path) -> None:
    ready, ended = tmp_path / "ready", tmp_path / "ended"
    os.mkfifo(ready)
    stand_in(f"trap 'touch {ended}; exit 143' TERM; read -r line; echo >{ready}; {WAIT}")

    async def cancel() -> None:
        task = asyncio.create_task(aio.run("x", input=b"begin\n"))
        await asyncio.to_thread(ready.read_text)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.exists()

    asyncio.run(cancel())


@pytest.mark.parametrize(
    ("script", "kind", "says"),
    [
        ("""echo '{"ending": "panic"}' >>$status; exit 122""", DomainCrash, "panicked"),
        ("""echo '{"ending": "lost"}' >>$status; exit 119""", DomainCrash, "before its command"),
        ("""echo '{"ending": "crash", "reason": "why"}' >>$status; exit 121""", DomainCrash, "crashed: why"),
        ("""echo '{"error": "no such file"}' >>$status; exit 2""", ConfigError, "^no such file$"),
        ("""echo 'xenia run: what is --x?' >&2; exit 2""", ConfigError, "^what is --x"),
        ("""echo 'xenia run: argument --memory: no size' >&2; exit 2""", ConfigError, "^memory: no size$"),
        ("exit 2", ConfigError, "status 2"),
        ("""echo '{"text": "Traceback"}' >>$status; exit 125""", HypervisorBug, "Traceback"),
        ("""printf '{"err' >>$status; kill -9 $$""", HypervisorBug, "SIGKILL"),
    ],
)
def test_what_keeps_a_command_from_ending_is_one_of_the_kinds_of_error(
    stand_in: Stand, script: str, kind: type[Exception], says: str
) -> None:
    stand_in(script)
    with pytest.raises(kind, match=says):
        both("x")


def test_what_the_kernel_said_last_is_the_report(stand_in: Stand) -> None:
    stand_in("""echo '{"text": "Kernel panic"}' >>$status; echo '{"ending": "panic"}' >>$status; exit 122""")
    with pytest.raises(DomainCrash) as raised:
        both("x")
    assert raised.value.report == "Kernel panic"


def test_warnings_are_with_the_result(stand_in: Stand) -> None:
    stand_in("""echo '{"warning": "no net"}' >>$status\n""" + ENDED % (0, 0))
    assert both("x").words == ["no net"]


def test_a_command_is_not_empty_and_its_input_comes_from_one_place(stand_in: Stand) -> None:
    stand_in(ENDED % (0, 0))
    with pytest.raises(ConfigError, match="no command"):
        both([])
    with pytest.raises(ValueError, match="both"):
        xenia.run("x", input=b"", stdin=0)


def test_streams_can_be_files(stand_in: Stand, tmp_path: Path) -> None:
    stand_in("cat; echo wrong >&2\n" + ENDED % (0, 0))
    (tmp_path / "in").write_text("given")
    with (tmp_path / "in").open() as given, (tmp_path / "out").open("w") as out:
        result = xenia.run("x", stdin=given, stdout=out, stderr=subprocess.STDOUT)
    assert (result.stdout, (tmp_path / "out").read_text()) == (None, "givenwrong\n")


def test_nothing_stays_open(stand_in: Stand) -> None:
    stand_in(ENDED % (0, 0))
    before = os.listdir("/proc/self/fd")
    xenia.run("x")
    assert os.listdir("/proc/self/fd") == before


def test_importing_the_package_loads_neither_the_core_nor_subprocess() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys; old = set(sys.modules); import xenia; print(*set(sys.modules) - old)"],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ).stdout.split()  # fmt: skip
    assert not {"subprocess", "asyncio", "xenia.hypervisor.machine"} & set(loaded)
    assert len(loaded) < 60
