"""Xenia and QEMU's programs keep away from each other's images."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.peers.test_nbd import server
from xenia.errors import ConfigError
from xenia.storage.nbd import open_nbd
from xenia.storage.stack import create_stack, open_stack
from xenia.toolstack.disks import disk
from xenia.toolstack.disks.new_disk import new_disk

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("qemu-nbd") is None, reason="qemu-nbd is not installed (qemu-utils)"),
]
SIZE = 4 << 20


@contextmanager
def served(path: Path, kind: str, *options: str) -> Iterator[None]:
    """QEMU has the image open, and writes to it unless told otherwise."""
    socket = path.with_suffix(".sock")
    with server(socket, "qemu-nbd", "-f", kind, "-k", socket, "-t", *options, path):
        open_nbd(socket, read_only=True).close()  # it answers once the image is open
        yield


def qemu_io(path: Path, kind: str, *options: str) -> str:
    """What qemu-io complains of when it opens the image."""
    done = subprocess.run(
        ["qemu-io", "-f", kind, *options, "-c", "read 0 512", str(path)], capture_output=True, text=True, timeout=60
    )
    return done.stderr if done.returncode else ""


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_an_image_that_qemu_writes_to_is_in_use(kind: str, tmp_path: Path) -> None:
    layer = "file" if kind == "raw" else kind
    path = tmp_path / "disk"
    create_stack(f"{layer}:{path}", SIZE)
    with served(path, kind):
        for text in (f"{layer}:{path}", f"{layer}:{path}:ro", f"{layer}:{path},cow", f"file:{path},checkpoint"):
            with pytest.raises(ConfigError, match="is in use"):
                open_stack(text)
        for repair in (False, True):
            if kind == "qcow2":
                with pytest.raises(ConfigError, match="is in use"):
                    disk.check(f"qcow2:{path}", repair)
        with pytest.raises(ConfigError, match="is in use"):
            disk.convert("memory:1M", f"{layer}:{path}", replace=True)
        with pytest.raises(ConfigError, match="is in use"):
            disk.create(f"{layer}:{path}", SIZE, replace=True)
        with pytest.raises(ConfigError, match="is in use"), new_disk(f"{layer}:{path}", SIZE, overwrite=True):
            pass
    with open_stack(f"{layer}:{path}"):
        pass


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_an_image_that_xenia_writes_to_is_locked_for_qemu(kind: str, tmp_path: Path) -> None:
    layer = "file" if kind == "raw" else kind
    path = tmp_path / "disk"
    create_stack(f"{layer}:{path}", SIZE)
    with open_stack(f"{layer}:{path}"):
        assert "lock" in qemu_io(path, kind)
        assert "lock" in qemu_io(path, kind, "-r")
    assert not qemu_io(path, kind)


@pytest.mark.parametrize("layer", ["cow", "checkpoint"])
def test_what_an_overlay_stands_on_may_be_read_by_qemu_and_not_written_to(layer: str, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    create_stack(f"file:{path}", SIZE)
    overlay = tmp_path / ("overlay" if layer == "cow" else "checkpoints")
    with open_stack(f"file:{path},{layer}:{overlay}"):
        assert not qemu_io(path, "raw", "-r")
        assert "lock" in qemu_io(path, "raw")
        file = overlay if layer == "cow" else next(overlay.glob("*.qcow2"))
        assert "lock" in qemu_io(file, "qcow2")


def test_an_overlay_that_qemu_writes_to_is_not_made_anew(tmp_path: Path) -> None:
    base, overlay = tmp_path / "base", tmp_path / "overlay"
    create_stack(f"file:{base}", SIZE)
    create_stack(f"file:{base},cow:{overlay}", SIZE)
    with served(overlay, "qcow2"), pytest.raises(ConfigError, match="is in use"):
        create_stack(f"file:{base},cow:{overlay}", SIZE, replace=True)
    assert overlay.exists()


def test_readers_do_not_exclude_each_other(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    create_stack(f"qcow2:{path}", SIZE)
    with (
        served(path, "qcow2", "-r"),
        open_stack(f"qcow2:{path}:ro"), open_stack(f"qcow2:{path}:ro"), open_stack(f"qcow2:{path},cow"),
    ):  # fmt: skip
        assert not qemu_io(path, "qcow2", "-r")
        with pytest.raises(ConfigError, match="is in use"):
            open_stack(f"qcow2:{path}")


def test_a_backing_file_that_qemu_writes_to_is_in_use(tmp_path: Path) -> None:
    create_stack(f"file:{tmp_path}/base", SIZE)
    create_stack(f"qcow2:{tmp_path}/clone:base=base", None)
    with served(tmp_path / "base", "raw"), pytest.raises(ConfigError, match="base is in use"):
        open_stack(f"qcow2:{tmp_path}/clone")
