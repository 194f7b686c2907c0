"""Container images that umoci made and skopeo saved, against what umoci itself unpacks of them."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from xenia.toolstack.image.oci import put_together
from xenia.toolstack.image.oci_archive import opened, read_image, unpacked_layers
from xenia.toolstack.provision.cache import Cache, no_progress

pytestmark = pytest.mark.skipif(
    not (shutil.which("umoci") and shutil.which("skopeo")), reason="no umoci and skopeo on this host"
)
LIMIT = 64 << 20
Change = Callable[[Path], None]


def first(root: Path) -> None:
    for folder in ("etc", "srv/old", "srv/kept", "usr/lib"):
        (root / folder).mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    (root / "etc/secret").write_text("one")
    (root / "etc/secret").chmod(0o600)
    (root / "srv/old/a").write_text("a" * 5000)
    (root / "srv/kept/b").write_text("b")
    os.link(root / "srv/kept/b", root / "srv/kept/c")


def second(root: Path) -> None:
    shutil.rmtree(root / "srv/old")
    (root / "srv/old").mkdir(mode=0o700)
    (root / "srv/old/new").write_text("new")
    (root / "srv/kept/b").unlink()
    (root / "usr/lib/through").write_text("x")
    (root / "etc/secret").chmod(0o640)


def third(root: Path) -> None:
    (root / "lib").unlink()
    (root / "lib").mkdir()
    (root / "lib/own").write_text("own")
    (root / "srv/kept/c").write_text("changed")
    (root / "etc/name with spaces \u00e4").write_text("y")


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layout with an image of three layers."""
    where = tmp_path_factory.mktemp("layout")
    (where / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    umoci(where, "init", "--layout", "made")
    umoci(where, "new", "--image", "made:1")
    for number, change in enumerate((first, second, third)):
        umoci(where, "unpack", "--rootless", "--image", "made:1", f"bundle{number}")
        change(where / f"bundle{number}/rootfs")
        umoci(where, "repack", "--image", "made:1", f"bundle{number}")
    umoci(where, "unpack", "--rootless", "--image", "made:1", "unpacked")
    return where


def umoci(where: Path, *words: str) -> None:
    subprocess.run(["umoci", *words], cwd=where, check=True, capture_output=True, text=True)


def as_umoci_has_it(root: Path) -> dict[str, tuple[int, object]]:
    found: dict[str, tuple[int, object]] = {}
    for path in root.rglob("*"):
        kept = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(root))] = (stat.S_IMODE(path.lstat().st_mode), kept)
    return found


def as_we_have_it(path: Path, cache: Cache) -> dict[str, tuple[int, object]]:
    found: dict[str, tuple[int, object]] = {}
    with opened(path, cache, no_progress, LIMIT) as source:
        image = read_image(source, "image", None)
        assert len(image.layers) == 3
        with unpacked_layers(image, source, "image", LIMIT, cache, no_progress) as layers:
            for name, inode in put_together(layers, "image").paths():
                contents = inode.contents()
                link = inode.member.linkname if inode.member.issym() else None
                found[name] = (inode.member.mode & 0o7777, contents.read() if contents is not None else link)
    del found[""]
    return found


@pytest.mark.parametrize(
    ("words", "target", "made"),
    [
        ((), "oci-archive:a.tar:1", "a.tar"),
        ((), "docker-archive:b.tar:me/made:1", "b.tar"),
        (("--dest-compress", "--dest-compress-format", "zstd"), "oci:zstd:1", "zstd"),
        (("--dest-decompress",), "oci:plain:1", "plain"),
    ],
)
def test_an_image_is_what_its_own_tool_unpacks_in_each_form(
    layout: Path, tmp_path: Path, words: tuple[str, ...], target: str, made: str
) -> None:
    subprocess.run(
        ["skopeo", "--policy", "policy.json", "copy", "-q", *words, "oci:made:1", target], cwd=layout, check=True,
        capture_output=True,
    )  # fmt: skip
    cache = Cache(tmp_path / "cache")
    cache.path("made")
    assert as_we_have_it(layout / made, cache) == as_umoci_has_it(layout / "unpacked/rootfs")
