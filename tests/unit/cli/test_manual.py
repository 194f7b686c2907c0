import importlib.util
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
