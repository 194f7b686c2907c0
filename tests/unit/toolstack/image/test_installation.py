"""What the guest tells while it makes a system, and what the operator sees of it."""

import subprocess
from importlib import resources

from xenia.agent.protocol import RecordType, record
from xenia.toolstack.image.installation import Installation


class Heard:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.last: tuple[object, ...] = ()

    def say(self, text: str) -> None:
        self.last = (text,)

    warn = say

    def progress(self, what: str, done: int, total: int) -> None:
        self.last = (what, done, total)

    def steps(self, what: str, current: str, done: int, total: int) -> None:
        self.last = (what, current, done, total)

    def busy(self, what: str) -> None: ...

    def clear(self) -> None: ...


def told(installation: Installation) -> tuple[object, ...]:
    heard = Heard()
    installation.tell(heard)
    return heard.last


def stdout(text: str) -> bytes:
    return record(RecordType.STDOUT, text.encode())


def test_stages_and_the_packages_of_a_stage_are_counted() -> None:
    installation = Installation(2, 3)
    assert told(installation) == ("booting", 0, 0)
    installation.receive(stdout("stage: making the file system\n"))
    assert told(installation) == ("making the file system", 0, 0)
    installation.receive(stdout("stage: configuring\nprocessing: configure: libc6:amd64\nstatus: libc6:amd64: half-"))
    assert told(installation) == ("configuring", "libc6", 0, 3)
    installation.receive(stdout("configured\nstatus: libc6:amd64: installed\nstatus: libc6:amd64: installed\n"))
    assert told(installation) == ("configuring", "libc6", 1, 3)
    installation.receive(stdout("stage: finishing\n"))
    assert told(installation) == ("finishing", 0, 0)


def test_errors_the_console_and_the_status_are_kept() -> None:
    installation = Installation(0, 0)
    installation.receive(b"kernel says\r\n" + record(RecordType.STDERR, b"dpkg says\n"))
    assert told(installation) == ("booting", 0, 0)
    installation.receive(record(RecordType.EXITED, (7).to_bytes(4, "little")))
    assert installation.status == 7
    assert bytes(installation.errors) == b"dpkg says\n" and bytes(installation.console) == b"kernel says\r\n"


def test_the_script_is_one_that_a_shell_reads() -> None:
    script = resources.files("xenia.toolstack.image").joinpath("install.sh").read_text()
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)


def test_what_a_guest_says_takes_no_more_than_is_needed() -> None:
    installation = Installation(0, 2)
    for _ in range(2000):
        installation.receive(record(RecordType.STDERR, b"e" * 248) + record(RecordType.STDOUT, b"l" * 248) + b"c" * 248)
    assert len(installation.errors) == len(installation.console) == 65536
    assert len(installation._line) <= 4096
    installation.receive(stdout("\nstage: configuring\n" + "".join(f"status: p{n}: installed\n" for n in range(5))))
    assert told(installation) == ("configuring", "", 2, 2)


def test_only_what_the_script_says_is_a_stage() -> None:
    installation = Installation(0, 0)
    installation.receive(stdout("stage: \x1b]0;owned\x07\nstage: configuring \n"))
    assert installation.stage == "booting"
