"""The wheel, as a file that users are handed: it installs and runs where no compiler is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xenia.cpu.engines.native.host import lack

ROOT = Path(__file__).resolve().parents[1]
ELF = b"\x7fELF"
COMPILER = re.compile(r"(.*-)?(cc|c\+\+|c89|c99|gcc|g\+\+|cpp|clang|clang\+\+|tcc|cc1|as|ld)(-[\d.]+)?$")

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler to build a wheel with"),
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a clone"),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), "."]
    subprocess.run(command, cwd=ROOT, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def without_compiler(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment, with a PATH that leads to every program but compilers, assemblers and linkers."""
    folder = tmp_path_factory.mktemp("path")
    for place in [*os.environ["PATH"].split(":"), "/usr/sbin", "/sbin"]:
        for program in sorted(Path(place).glob("*")):
            link = folder / program.name
            if not COMPILER.match(program.name) and not link.is_symlink() and "ccache" not in place:
                link.symlink_to(program.resolve())
    environment = {name: value for name, value in os.environ.items() if name not in ("CC", "PYTHONPATH", "VIRTUAL_ENV")}
    environment["PATH"] = str(folder)
    assert shutil.which("cc", path=environment["PATH"]) is None
    return environment


def test_a_wheel_says_for_which_c_library_it_is_and_needs_no_newer_one(wheel: Path) -> None:
    named = re.search(r"manylinux_2_(\d+)_" + os.uname().machine + r"\.whl$", wheel.name)
    assert named, wheel.name
    unpacked = wheel.with_suffix("")
    shutil.unpack_archive(wheel, unpacked, "zip")
    modules = list(unpacked.rglob("*.so"))
    assert len(modules) == len(list((ROOT / "src").rglob("*.pyx"))) + 1  # what all of them share
    (launcher,) = unpacked.glob("*.data/scripts/xenia")
    assert launcher.read_bytes().startswith(ELF)
    needed = set()
    for compiled in (*modules, launcher):
        needed |= {int(minor) for minor in re.findall(rb"GLIBC_2\.(\d+)", compiled.read_bytes())}
    assert max(needed) == int(named[1])


def test_an_archive_of_the_sources_has_all_that_a_clone_has_and_nothing_that_is_compiled(tmp_path: Path) -> None:
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    made = subprocess.run([sys.executable, "-c", build, tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    (archive,) = tmp_path.glob("xenia-*.tar.gz")
    shutil.unpack_archive(archive, tmp_path, filter="data")
    unpacked = archive.with_name(archive.name.removesuffix(".tar.gz"))
    there = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    here = {name for name in sources() if not name.startswith(".")}
    assert here <= there, sorted(here - there)
    made_there = {name for name in there - here if not re.match(r"PKG-INFO$|setup\.cfg$|src/xenia\.egg-info/", name)}
    assert not made_there, sorted(made_there)
    # What the build begins with, up to what takes minutes.
    shown = subprocess.run(
        [sys.executable, "setup.py", "--version"], cwd=unpacked, capture_output=True, text=True, timeout=280
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.splitlines()[-1] == re.search(r"xenia-(.*)\.tar", archive.name)[1]  # type: ignore[index]
    for program in ("src/xenia/agent/agent-*", "src/xenia/launcher/xenia-*", "src/xenia/guests/ilwaco"):
        assert [path for path in unpacked.glob(program) if path.read_bytes().startswith(ELF)], program


def test_a_wheel_runs_a_guest_in_a_new_environment_without_a_compiler(
    wheel: Path, without_compiler: dict[str, str], tmp_path: Path
) -> None:
    python = new_environment(tmp_path / "venv", [str(wheel)], without_compiler)

    def xenia(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python.with_name("xenia"), *words],
            env=without_compiler,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )

    for engine in ((), ("--engine", "auto")):
        answer = xenia("run", "-q", *engine, "--", "uname", "-s")
        assert (answer.returncode, answer.stdout) == (0, "Linux\n"), answer.stderr
    doctor = xenia("doctor", "--json")
    assert doctor.returncode in (0, 1), doctor.stderr
    checks = {check["name"]: check["status"] for check in json.loads(doctor.stdout)["checks"]}
    assert (checks["native engine"] == "ok") == (lack() is None)


def test_the_two_commands_work_in_a_clone_without_a_compiler_beside_a_wheel(
    wheel: Path, without_compiler: dict[str, str], tmp_path: Path
) -> None:
    clone = tmp_path / "clone"
    for name in sources():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, clone / name)
    refused = in_clone(clone, ["./xenia", "run"], without_compiler)
    assert refused.returncode == 2
    assert "no C compiler" in refused.stderr and "dist" in refused.stderr
    (clone / "dist").mkdir()
    shutil.copy(wheel, clone / "dist")
    ran = in_clone(clone, ["./xenia", "run", "-q", "--", "uname", "-s"], without_compiler)
    assert (ran.returncode, ran.stdout) == (0, "Linux\n"), ran.stderr
    assert (clone / ".venv/bin/xenia").read_bytes().startswith(ELF)
    tested = in_clone(
        clone, ["./test", "-q", "tests/unit/machine", "tests/unit/toolstack/machine/test_machine.py"], without_compiler
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert re.search(r"\d+ passed", tested.stdout) and "skipped" not in tested.stdout


def test_a_wheel_of_other_sources_is_refused(wheel: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("*.so"))
    with (tmp_path / "src/xenia/hypervisor/pcpu.pyx").open("a") as source:
        source.write("# changed\n")
    answer = subprocess.run(
        [sys.executable, ROOT / "scripts/unpack_wheel.py", wheel, tmp_path / "src", tmp_path], capture_output=True,
        text=True,
    )  # fmt: skip
    assert answer.returncode == 1
    assert "pcpu.pyx differs" in answer.stderr
    assert not (tmp_path / "xenia").exists()
    assert not list((tmp_path / "src").rglob("*.so"))


def sources() -> list[str]:
    """The clone's files, but what is built in it."""
    tracked = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return [name for name in filter(None, tracked.split("\0")) if (ROOT / name).exists()]


def in_clone(clone: Path, command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=clone, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280
    )


def new_environment(folder: Path, packages: list[str], environment: dict[str, str]) -> Path:
    """The Python of a new virtual environment with these packages, and what they depend on, installed."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin/python"
    installed = subprocess.run(
        [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert installed.returncode == 0, installed.stderr
    return python
