"""The documents' examples in Python, and what the package shows of itself."""

import os
import re
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import xenia
from xenia.guests import embedded

ROOT = Path(__file__).parents[2]
EXAMPLES = [
    (document, number, textwrap.dedent(code))
    for document in ("README.md", "docs/python.md")
    for number, code in enumerate(
        re.findall(r"(?:^    (?:import|from) .*\n(?:(?:    .*)?\n)+)", (ROOT / document).read_text() + "\n", re.M)
    )
]


@pytest.mark.skipif(embedded() is None, reason="the built-in guest is not built: no C compiler for x86-64")
@pytest.mark.parametrize(("document", "number", "code"), EXAMPLES)
def test_an_example_of_the_documents_runs(document: str, number: int, code: str, tmp_path: Path) -> None:
    kernel = embedded()
    assert kernel is not None
    (tmp_path / "vmlinuz").write_bytes(kernel.read_bytes())  # which knows no `poweroff`
    (tmp_path / "initrd.img").touch()
    with socket.create_server(("127.0.0.1", 0)) as free:
        code = code.replace('"2222:', f'"{free.getsockname()[1]}:')
    code = code.replace("domain.wait(timeout=60)", "domain.wait(timeout=1)").replace("domain.wait()", "domain.wait(1)")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), code


def test_the_package_shows_what_it_offers() -> None:
    assert {"Machine", "Domain", "ConfigError"} <= set(dir(xenia))


def test_every_file_that_the_developers_guide_names_is_there() -> None:
    guide = (ROOT / "docs" / "developing.md").read_text()
    named = set(re.findall(r"(?:src|tests|docs|guests|bench|scripts)/[\w./-]+\w/?", guide))
    to_come = {"src/xenia/net/", "src/xenia/backends/NAME/", "src/xenia/cpu/engines/NAME/engine.pyx"}
    to_come |= {"tests/guests/answers/NAME.txt", "src/xenia/abi/"}
    missing = sorted(name for name in named - to_come if not (ROOT / name).exists())
    assert missing == [] and len(named) > 40
