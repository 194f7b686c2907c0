"""What an image is asked to be."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from xenia.cli.exit_status import ExitStatus
from xenia.cli.main import command
from xenia.errors import ConfigError
from xenia.toolstack.image.build import Built
from xenia.toolstack.image.config import ImageConfig, module_files
from xenia.toolstack.provision.kernels import Kernel


def test_what_is_included_is_asked_for_besides_the_usual() -> None:
    config = ImageConfig(output="root.img", include=("hello",))
    assert {"?essential", "systemd", "hello"} <= set(config.wanted)


def test_the_systems_own_files_say_its_name_and_name_no_mirror() -> None:
    files = ImageConfig(output="root.img", hostname="web-1").files()
    assert files["etc/hostname"] == b"web-1\n" and b"127.0.1.1 web-1\n" in files["etc/hosts"]
    assert all(line.startswith(b"#") for line in files["etc/apt/sources.list"].splitlines())
    assert b"LABEL=root / ext4" in files["etc/fstab"]


def test_the_kernels_modules_come_under_its_release(tmp_path: Path) -> None:
    (tmp_path / "autofs4.ko").write_bytes(b"module")
    kernel = Kernel("6.1.0-9-amd64", tmp_path / "vmlinuz", None, tmp_path)
    assert module_files(kernel) == {"usr/lib/modules/6.1.0-9-amd64/kernel/autofs4.ko": b"module"}


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"include": ("Hello World",)}, "no package's name"),
        ({"include": ("-o",)}, "no package's name"),
        ({"hostname": "a_b"}, "hostname 'a_b'"),
        ({"hostname": "-a"}, "hostname '-a'"),
        ({"size": 1000}, "no size for a disk"),
        ({"size": 10 << 20}, "a disk of 10M is too small"),
        ({"root_password": "a\nb"}, "one line"),
    ],
)
def test_what_can_never_be_had_is_refused(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        ImageConfig(output="root.img", **wrong)


def test_the_command_line_becomes_a_configuration(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[ImageConfig] = []

    def build(config: ImageConfig, words: object) -> Built:
        asked.append(config)
        return Built(config.output, config.size, "6.1", {"hello": "1"}, 65.4)

    monkeypatch.setattr("xenia.toolstack.image.build.build", build)
    line = ["image", "build", "debian", "-o", "root.qcow2", "--size", "4G", "--include", "hello,nano", "--force"]
    assert command([*line, "--hostname", "web", "--root-password", "x y"]) == ExitStatus.OK
    assert asked == [
        ImageConfig(
            output="root.qcow2",
            size=4 << 30,
            include=("hello", "nano"),
            hostname="web",
            root_password="x y",
            replace=True,
        )
    ]
    assert "1 packages, built in 1 min 5 s; boot it: xenia run --root root.qcow2" in capsys.readouterr().err
    assert command([*line, "--json"]) == ExitStatus.OK
    assert '"hello": "1"' in capsys.readouterr().out
    assert command(["image", "build", "debian", "-o", "x", "--size", "big"]) == ExitStatus.USAGE


def test_a_build_that_is_ended_leaves_nothing(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from xenia.cli.main import main\n"
        "from xenia.toolstack.provision.kernels import Kernels\n"
        "def get(self):\n"
        "    assert len(os.listdir()) == 1\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "Kernels.get = get\n"
        "sys.argv = ['xenia', 'image', 'build', 'debian', '-o', 'root.img']\n"
        "main()\n"
    )
    source = Path(__file__).parents[4] / "src"
    environment = {**os.environ, "PYTHONPATH": str(source), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    (tmp_path / "here").mkdir()
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path / "here", env=environment, check=False)
    assert ended.returncode == -signal.SIGTERM
    assert list((tmp_path / "here").iterdir()) == []
