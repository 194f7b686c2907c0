"""The documents' examples in Python: each ```python block that begins with an import runs as it stands."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from xenia.agent.config import AgentConfig
from xenia.testing.guests import Debian
from xenia.toolstack.provision.initramfs import ENVIRONMENT, FRONTENDS, SHARING, initramfs
from xenia.toolstack.provision.packages import PackageClient

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(not PackageClient.available(), reason="no apt-get on this host to fetch Debian's kernel with"),
]


class Example(NamedTuple):
    """A block of a document; it begins at that line."""

    document: str
    line: int
    code: str

    @property
    def is_whole(self) -> bool:
        """Whether it is a program of its own."""
        return re.match(r"(import|from) ", self.code) is not None


def examples() -> list[Example]:
    found = []
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = path.read_text()
        for block in re.finditer(r"^```python\n(.*?)^```$", text, re.M | re.S):
            line = text.count("\n", 0, block.start(1)) + 1
            found.append(Example(str(path.relative_to(ROOT)), line, block[1]))
    return found


def named(example: Example) -> str:
    return f"{example.document}:{example.line}"


def test_documents_have_examples_and_none_is_written_in_another_way() -> None:
    assert len(examples()) > 8
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        assert not re.search(r"^    (from xenia|import xenia)", path.read_text(), re.M), path


@pytest.fixture(scope="module")
def files() -> Callable[[Path], None]:
    """Puts what the examples call vmlinuz, initrd.img and so on into a folder: Debian's kernel, and a shell."""
    debian = Debian()
    base = debian.base("amd64", (*FRONTENDS, *SHARING))
    shell = AgentConfig(
        args=("/bin/sh", "-c", "stty -echo; exec /bin/sh"), environment=ENVIRONMENT, modules=base.modules
    )
    ramdisk = initramfs(base, shell)

    def put(folder: Path) -> None:
        (folder / "vmlinuz").symlink_to(debian.kernel().image)
        for name in ("initrd.img", "web.img", "batch.img"):
            (folder / name).write_bytes(ramdisk)
        with (folder / "data.img").open("wb") as disk:
            disk.truncate(4 << 20)

    return put


@pytest.mark.parametrize("example", [example for example in examples() if example.is_whole], ids=named)
def test_a_program_of_the_documents_runs(example: Example, tmp_path: Path, files: Callable[[Path], None]) -> None:
    files(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        code = example.code.replace('"2222:', f'"{free.getsockname()[1]}:')
    program = ["-c", code]
    if "\ndef test_" in code:
        (tmp_path / "test_example.py").write_text(code)
        program = ["-m", "pytest", "-q", "-p", "xenia.pytest_plugin", "--strict-markers", "test_example.py"]
    done = subprocess.run(
        [sys.executable, "-W", "error", *program], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), code + done.stdout
