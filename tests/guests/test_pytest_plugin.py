"""Guests as fixtures: pytest run on a project that knows nothing else of Xenia."""

import os
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from xenia.toolstack.provision.packages import PackageClient

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[2]
PROJECT = Path(__file__).with_name("pytest_project")
PLUGIN = ("-p", "xenia.pytest_plugin", "-p", "no:cacheprovider")

pytestmark = pytest.mark.guest
needs_debian = pytest.mark.skipif(
    not PackageClient.available(), reason="no apt-get on this host to fetch Debian's kernel with"
)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    pytester.copy_example(str(PROJECT))
    Path("data.img").write_bytes(b"first".ljust(1 << 20, b"\0"))
    return pytester


def test_each_test_has_a_guest_or_shares_one_and_what_it_said_is_told(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess(*PLUGIN, "--strict-markers", "-k", "not disk_is_written")
    result.assert_outcomes(passed=3, failed=1, deselected=1)
    result.stdout.fnmatch_lines(["*console of guest 'guest'*", "*Ilwaco*", "> time*", "*dmesg of guest 'guest'*"])


@needs_debian
def test_a_test_says_what_its_guest_is_to_be(project: pytest.Pytester) -> None:
    project.runpytest_subprocess(*PLUGIN, "-k", "disk_is_written").assert_outcomes(passed=1, deselected=4)


def test_several_processes_have_guests_at_once(project: pytest.Pytester) -> None:
    command = [sys.executable, "-m", "pytest", *PLUGIN, "-q", "test_shared.py"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 0 and "3 passed" in said, said


def test_a_guest_may_live_as_long_as_the_session(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\nxenia_shared_scope = session\n")
    project.makeconftest(
        "import pytest\n@pytest.fixture(scope='session')\ndef xenia_options(): return dict(kernel='demo')"
    )
    for name in ("one", "two"):
        project.makepyfile(**{f"test_{name}": "def test(shared_guest): print('it is', id(shared_guest))"})
    result = project.runpytest_subprocess(*PLUGIN, "-s", "test_one.py", "test_two.py")
    result.assert_outcomes(passed=2)
    assert len({line.split()[-1] for line in result.outlines if "it is" in line}) == 1


def test_what_makes_no_sense_is_said_in_a_line(project: pytest.Pytester) -> None:
    project.makeini("[pytest]\nxenia_shared_scope = class\n")
    project.makepyfile(
        test_wrong="""
        import pytest

        @pytest.mark.xenia("debian")
        def test_positional(guest): pass

        @pytest.mark.xenia(momory=1)
        def test_unknown(guest): pass

        def test_scope(shared_guest): pass
        """
    )
    result = project.runpytest_subprocess(*PLUGIN, "test_wrong.py")
    said = result.stdout.str() + result.stderr.str()
    assert "use module, package or session" in said
    project.makeini("[pytest]\n")
    said = project.runpytest_subprocess(*PLUGIN, "test_wrong.py", "-k", "not scope").stdout.str()
    assert "takes options by name, not 'debian'" in said and "no option 'momory'" in said


def test_what_a_guest_said_does_nothing_to_a_terminal(project: pytest.Pytester) -> None:
    from xenia.pytest_plugin import _last

    assert _last(["a\x1b[2J\r", "\tb\udcff\x07"]) == "a\\x1b[2J\n\tb\\udcff\\x07"


def test_nothing_is_loaded_before_a_fixture_is_used() -> None:
    program = "import sys, pytest; old = set(sys.modules); import xenia.pytest_plugin; print(*set(sys.modules) - old)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert set(done.stdout.split()) <= {"xenia", "xenia.errors", "xenia.shutdown", "xenia.pytest_plugin"}


def test_an_installed_package_is_found_by_pytest() -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    for name, module in points.items():
        assert name == module  # so that -p loads it once
        assert import_module(module).guest
