"""A file that looks like another format than it is taken for."""

from pathlib import Path

import pytest

from xenia.storage.signature import SIGNATURES
from xenia.storage.stack import create_stack, open_stack


def said(text: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    open_stack(text).close()
    return [record.getMessage() for record in caplog.records]


def test_an_image_that_is_taken_byte_for_byte_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    create_stack("qcow2:cloud.img", 1 << 20)
    line = "cloud.img looks like qcow2: say qcow2:cloud.img"
    assert said("./cloud.img", caplog) == said("file:cloud.img:ro", caplog) == [line]
    assert said("cloud.img,cow", caplog) == [f"{line},cow"]
    assert said("qcow2:cloud.img", caplog) == said("file:cloud.img,qcow2", caplog) == []


@pytest.mark.parametrize("one", SIGNATURES, ids=lambda one: f"{one.name} {one.offset}")
def test_each_format_is_named_with_what_to_do(one: object, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from xenia.storage.signature import Signature

    assert isinstance(one, Signature)
    data = bytearray(8192)
    at = one.offset % len(data)
    data[at : at + len(one.magic)] = one.magic
    path = tmp_path / "disk"
    path.write_bytes(data)
    (line,) = said(f"file:{path}:ro", caplog)
    assert line == f"{path} looks like {one.name}: {one.advice.format(path=path, words='')}"
    assert "{" not in line


@pytest.mark.parametrize("data", [bytes(8192), b"", b"\x7fELF", b"\0" * 0x8000 + b"\1CD001"])
def test_what_is_a_disk_is_no_matter_for_a_word(data: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "disk").write_bytes(data)
    assert said(f"file:{tmp_path}/disk", caplog) == []
