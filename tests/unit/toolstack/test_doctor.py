"""The doctor's checks, each on a host that has what it looks for and on one that lacks it."""

from pathlib import Path

import pytest

from xenia.abi.elfnote import ElfNote
from xenia.errors import ConfigError, HypervisorBug
from xenia.jail.calls import PROCESSORS
from xenia.jail.jail import Walls
from xenia.testing.kernels import elf_image, note
from xenia.toolstack import doctor
from xenia.toolstack.doctor import Check, Status
from xenia.toolstack.provision.cache import Cache

MEMINFO = "MemTotal:       8000000 kB\nMemAvailable:   2097152 kB\n"


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host with nothing installed."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    return tmp_path


def test_only_failures_count_for_the_exit_status() -> None:
    ok, warn, fail = (Check("x", status, "") for status in Status)
    assert doctor.exit_status([ok, warn]) == 0
    assert doctor.exit_status([ok, fail, warn]) == 1


def test_this_python_will_do() -> None:
    assert doctor.check_python().status is Status.OK


def test_an_old_python_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "MINIMUM_PYTHON", (99, 1))
    check = doctor.check_python()
    assert (check.status, check.remedy) == (Status.FAIL, "install Python 99.1 or newer")


def test_the_engine_that_is_built_in_passes_its_self_test() -> None:
    assert doctor.check_engine() == Check("engine", Status.OK, "emulated, by Unicorn 2.1.4")


def test_the_engine_fails_when_its_self_test_does() -> None:
    def self_test() -> str:
        raise HypervisorBug("unknown layout")

    check = doctor.check_engine(self_test)
    assert (check.status, check.detail) == (Status.FAIL, "unknown layout")


def test_available_memory_is_what_the_host_and_the_cgroup_allow(tmp_path: Path) -> None:
    assert doctor.available_memory(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text(MEMINFO)
    assert doctor.available_memory(tmp_path) == 2 << 30
    cgroup = tmp_path / "sys" / "fs" / "cgroup"
    cgroup.mkdir(parents=True)
    (cgroup / "memory.current").write_text(f"{100 << 20}\n")
    (cgroup / "memory.max").write_text("max\n")
    assert doctor.available_memory(tmp_path) == 2 << 30
    (cgroup / "memory.max").write_text(f"{300 << 20}\n")
    assert doctor.available_memory(tmp_path) == 200 << 20


def test_a_host_without_what_the_native_engine_needs_is_warned_of_and_does_without() -> None:
    def lacks(_: str) -> str:
        raise ConfigError("the native engine cannot run here: it needs more")

    check = doctor.check_native(lacks)
    assert (check.status, check.detail) == (Status.WARN, "the native engine cannot run here: it needs more")


def test_little_memory_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "available_memory", lambda: 100 << 20)
    assert (doctor.check_memory().status, doctor.check_memory().detail) == (Status.WARN, "100 MB available")


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    assert doctor.check_cache(Cache(tmp_path / "cache")).status is Status.OK
    (tmp_path / "file").touch()
    assert doctor.check_cache(Cache(tmp_path / "file" / "cache")).status is Status.WARN


def test_a_host_with_nothing_installed_gets_warnings_that_say_what_to_do(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xenia.agent.build.beside_source", lambda: bare / "no-agent")
    for check in (doctor.check_package_client(), doctor.check_compiler()):
        assert check.status is Status.WARN
        assert check.remedy


def test_every_kernel_is_named_with_whether_it_boots(tmp_path: Path) -> None:
    boot = tmp_path / "boot"
    boot.mkdir()
    good = elf_image([(0, b"x", 64)], [note(ElfNote.GUEST_OS, "linux")])
    (boot / "vmlinuz-1-pv").write_bytes(good)
    (boot / "vmlinuz-2-plain").write_bytes(elf_image([(0, b"x", 64)]))
    (boot / "vmlinuz-3-junk").write_bytes(b"junk")
    checks = doctor.check_kernels(Cache(tmp_path / "cache"), boot)
    assert [check.status for check in checks] == [Status.OK, Status.WARN, Status.WARN]
    assert "boots as a PV guest" in checks[0].detail
    assert "no Xen notes" in checks[1].detail
    assert "not a kernel image" in checks[2].detail


def test_without_any_kernel_one_line_says_so(tmp_path: Path) -> None:
    (check,) = doctor.check_kernels(Cache(tmp_path / "cache"), tmp_path)
    assert check.status is Status.WARN


def test_an_examination_covers_all_of_it(tmp_path: Path) -> None:
    checks = doctor.examine(Cache(tmp_path / "cache"), tmp_path)
    names = [check.name for check in checks]
    assert names[:5] == ["python", "engine", "native engine", "jail", "user"]
    assert names[5:11] == ["memory", "cache", "package client", "network", "guest agent", "kernel"]


def test_the_walls_that_this_host_lacks_are_told_with_what_that_means() -> None:
    check = doctor.check_jail(lambda: Walls(0, None))
    assert check.status is Status.WARN
    assert "no filters of system calls (seccomp), any file of yours can be opened (no Landlock)" in check.detail
    check = doctor.check_jail(lambda: Walls(2, PROCESSORS["x86_64"]))
    assert check.detail.endswith("but TCP is left to the filters (Landlock before version 4)")
    whole = doctor.check_jail(lambda: Walls(7, PROCESSORS["aarch64"]))
    assert whole == Check(
        "jail", Status.OK, "no new privileges, no debugger, few resources, filters of system calls, Landlock 7"
    )


def test_root_is_advised_to_be_somebody_else() -> None:
    assert doctor.check_user(0).status is Status.WARN
    assert doctor.check_user(1000).status is Status.OK
