import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from xenia.cli.completion import script
from xenia.cli.exit_status import ExitStatus
from xenia.cli.parser import SHELLS

ROOT = Path(__file__).parents[3]


def manual() -> str:
    spec = importlib.util.spec_from_file_location("manual", ROOT / "scripts" / "manual.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.manual())


def test_the_manual_page_is_the_one_that_the_grammar_gives() -> None:
    assert (ROOT / "docs" / "xenia.1").read_text() == manual(), (
        "the command line changed: python scripts/manual.py > docs/xenia.1"
    )


def test_the_guide_lists_every_exit_status() -> None:
    guide = (ROOT / "docs" / "exit-statuses.md").read_text()
    for status in ExitStatus:
        assert f"| {status.value} | {status.meaning[0].upper()}{status.meaning[1:]} |" in guide


@pytest.mark.parametrize("shell", SHELLS)
def test_the_completion_script_is_one_that_the_shell_reads(shell: str) -> None:
    text = script(shell)
    for word in ("run", "doctor", "kernel", "machine-memory", "cloud-amd64", "warped"):
        assert word in text
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=text, text=True, check=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this host")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("block-list w", "web"),
        ("block-detach w", "web"),
        ("stats d", "db"),
        ("run --disk di", "disk.img"),
        ("run --root di", "disk.img"),
        ("disk info di", "disk.img"),
        ("image build debian -o di", "disk.img"),
        ("run --kernel di", "disk.img"),
        ("run --kernel 6", "6.1.0-9-amd64"),
        ("kernel rm 6", "6.1.0-9-amd64"),
        ("kernel fetch 6.1.0-9", "6.1.0-9-amd64"),
    ],
)
def test_completion_offers_guests_that_run_kernels_and_files(words: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "xenia" / "kernels" / "6.1.0-9-amd64").mkdir(parents=True)
    for name in ("xenia/web.12", "xenia/db.7", "disk.img"):
        (tmp_path / name).touch()
    ask = f'COMP_WORDS=(xenia {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _shtab_xenia; echo "${{COMPREPLY[*]}}"'
    done = subprocess.run(
        ["bash", "-c", f"{script('bash')}\n{ask}"], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(tmp_path), "TMPDIR": str(tmp_path),
             "XDG_CACHE_HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.split() == [found]


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish on this host")
@pytest.mark.parametrize(
    ("words", "found"),
    [("block-list w", "web"), ("stats d", "db"), ("dmesg ", "web db"), ("run --disk di", "disk.img")],
)
def test_completion_in_fish_offers_them_as_well(words: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "xenia").mkdir()
    for name in ("xenia/web.12", "xenia/db.7", "disk.img"):
        (tmp_path / name).touch()
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"{script('fish')}\ncomplete -C 'xenia {words}'"], cwd=tmp_path,
        capture_output=True, text=True, check=True,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path),
             "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert sorted(line.partition("\t")[0] for line in done.stdout.splitlines()) == sorted(found.split())
