"""The process `xenia`, from outside: what it prints where, and how it ends.  Nothing here boots a guest."""

import os
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from xenia.cli.main import split_command

SOURCE = Path(__file__).parents[3] / "src"


def xenia(*arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(
        [sys.executable, "-m", "xenia", *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=environment,
        check=False,
    )


def test_without_a_command_the_help_is_on_standard_error() -> None:
    ended = xenia()
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "usage: xenia" in ended.stderr


def test_help_is_on_standard_output_and_names_every_command() -> None:
    ended = xenia("--help")
    assert ended.returncode == 0
    assert ended.stderr == ""
    assert "None" not in ended.stdout
    for verb in (
        "run",
        "doctor",
        "inspect",
        "hypercalls",
        "disk",
        "image",
        "block-attach",
        "net",
        "stats",
        "completion",
    ):
        assert verb in ended.stdout


def test_help_of_run_shows_examples_and_the_leave_key() -> None:
    ended = xenia("run", "--help")
    assert ended.returncode == 0
    assert "Ctrl-]" in ended.stdout
    assert "xenia run -- uname -a" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["fly"], "there is no command 'fly'"),
        (["run", "--memory", "12X"], "'12X' is not a size"),
        (["run", "--memory", "-64M"], "'-64M' is not a size"),
        (["run", "--kernel", ""], "--kernel '' names no file"),
        (["run", "--initrd", ""], "--initrd '' names no file"),
        (["run", "--timeout", "-1"], "'-1' is not a time"),
        (["run", "--env", "NO_SUCH_VARIABLE_HERE"], "there is no such variable here"),
        (["run", "--cwd", "tmp"], "from the guest's root on"),
        (["run", "--memory"], "expected one argument"),
        (["run", "--scatter", "-1"], "'-1' is not a whole number"),
        (["run", "--scatter", "x"], "'x' is not a whole number"),
        (["run", "--clock", "sundial"], "sundial"),
        (["run", "ls"], "a command for the guest goes after '--'"),
        (["run", "--mem", "64M"], "what is --mem?"),
        (["run", "--quiet", "--verbose"], "not allowed with"),
        (["run", "--memory", "2M"], "a guest needs 4M"),
        (["run", "--memory", "512M", "--machine-memory", "256M"], "does not fit"),
        (["run", "--memory", "64T"], "more than this host has"),
        (["run", "--kernel", "demo", "--", "ls"], "takes no command"),
        (["run", "--net", "brdge=lan"], "what is 'brdge=lan'; did you mean bridge=?"),
        (["run", "--net", "none", "--net", "user"], "--net none goes with no other --net"),
        (["run", "--net", "null", "-p", "22:22"], "-p needs a card on a network that forwards ports"),
        (["run", "-p", "22"], "'22' is no port forward: write 2222:22"),
        (["run", *["--net", "null"] * 9], "a guest has 8 network cards at the most, not 9"),
        (["run", "--net", "null,devid=1", "--net", "null,devid=1"], "two network cards of one guest have the number 1"),
        (["run", "--net", "bridge=no-such-network"], "no network 'no-such-network' is running"),
        (["net"], "ACTION"),
        (["net", "create", "a/b"], "'a/b' is no network's name"),
        (["net", "create", "--", "-x"], "'-x' is no network's name"),
        (["net", "show", "--json", "--", "-x"], "no network '-x' is running"),
        (["net", "show", "no-such-network"], "no network 'no-such-network' is running"),
        (["net", "join", "lan", "user"], "'user' leads nowhere else"),
        (["net", "join", "lan", "tap=tap0,loss=1%"], "only a card has such words"),
        (["net", "set", "no-such-guest", "carrier=no"], "the carrier is up or down"),
        (["net", "detach", "no-such-guest", "vif0"], "no guest 'no-such-guest' is running"),
        (["net", "capture", "vif99.0", "--json"], "pcapng and JSON cannot both go to standard output"),
        (["net", "capture", "vif99.0", "-o", "/dev/null"], "'vif99.0' is no card of a guest that runs"),
        (["doctor", "--", "ls"], "go with 'run', 'ssh', 'exec', 'gdb', 'drgn' only"),
        (["net", "show", "lan", "--", "ls"], "go with 'run', 'ssh', 'exec', 'gdb', 'drgn' only"),
        (["net", "list", "--"], "go with 'run', 'ssh', 'exec', 'gdb', 'drgn' only"),
        (["inspect"], "KERNEL"),
        (["completion", "tcl"], "tcl"),
        (["image", "build", "debian"], "-o/--output"),
        (["image", "build", "plan9", "-o", "x"], "plan9"),
    ],
)
def test_wrong_input_is_answered_in_one_line_and_with_status_2(arguments: list[str], complaint: str) -> None:
    ended = xenia(*arguments)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert complaint in ended.stderr
    assert ended.stderr.startswith("xenia")
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_capture_of_nothing_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "old.pcapng").write_text("kept")
    for name in ("old.pcapng", "new.pcapng"):
        assert xenia("net", "capture", "no-such-guest", "-o", str(tmp_path / name)).returncode == 2
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old.pcapng", "kept")]


def test_version() -> None:
    ended = xenia("--version")
    assert ended.returncode == 0
    assert ended.stdout == f"xenia {metadata.version('xenia')}\n"


def test_help_to_a_reader_that_left_ends_as_quietly_as_other_programs() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    ended = subprocess.run(
        [sys.executable, "-m", "xenia", "--help"], stdout=write_fd, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONUNBUFFERED": ""}, check=False,
    )  # fmt: skip
    os.close(write_fd)
    assert ended.returncode == -signal.SIGPIPE
    assert ended.stderr == b""


# What takes the longest to load, and most of which nobody needs.
HEAVY = {
    "asyncio", "ctypes", "hashlib", "importlib.metadata", "shtab", "ssl", "subprocess", "tarfile", "tempfile",
    "unicorn", "urllib.request", "xenia._cython", "xenia.hypervisor.machine", "xenia.toolstack.control.remote",
    "zstandard",
}  # fmt: skip
SLOW = {
    "dataclasses", "datetime", "fractions", "inspect", "json", "logging", "pathlib", "shutil", "socket", "threading",
    "traceback", "xenia.toolstack.config.machine", "xenia.toolstack.control.client",
}  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "never"),
    [
        ("--help", HEAVY | SLOW),
        ("--version", HEAVY | SLOW),
        ("run --help", HEAVY | SLOW),
        ("completion fly", HEAVY | SLOW),
        ("list", HEAVY),
    ],
)
def test_what_answers_at_once_loads_little(verb: str, never: set[str], tmp_path: Path) -> None:
    program = (
        "import sys\nfrom xenia.cli.main import command\n"
        f"try: command({verb.split()})\nexcept SystemExit: pass\n"
        "print('loaded', *sorted(sys.modules), file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    loaded = set(ended.stderr.splitlines()[-1].split())
    assert "xenia.cli.parser" in loaded
    assert not loaded & never


def test_what_follows_the_first_double_dash_is_the_guests() -> None:
    assert split_command(["run", "-q"]) == (["run", "-q"], None)
    assert split_command(["run", "--", "ls", "--", "-l"]) == (["run"], ["ls", "--", "-l"])
    assert split_command(["run", "--"]) == (["run"], [])
    for words in (["web"], ["-l", "pat", "web"], ["web", "--wait", "9", "-ikey"], ["--user=pat", "web", "-i", "key"]):
        assert split_command(["ssh", *words]) == (["ssh", *words], None)
        for command in (["ls", "-l"], ["ls", "--", "-l"]):
            assert split_command(["ssh", *words, *command]) == (["ssh", *words], command)
            assert split_command(["ssh", *words, "--", *command]) == (["ssh", *words], command)
    for words in (["web"], ["-e", "code", "web"], ["web", "--symbols", "vmlinux"], ["web", "-e", "code"]):
        assert split_command(["drgn", *words]) == (["drgn", *words], None)
        script = ["script.py", "-e", "--all", "--", "-l"]
        assert split_command(["drgn", *words, *script]) == (["drgn", *words], script)
