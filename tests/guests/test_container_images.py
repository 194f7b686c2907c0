"""A root disk from a container image, built and run; all tests share one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xenia.testing.containers import archive, configuration, file, folder, layer, link, oci_layout, symlink
from xenia.testing.guests import Debian
from xenia.toolstack.provision.packages import PackageClient

SOURCE = Path(__file__).parents[2] / "src"
CAPABILITY = b"\x01\x00\x00\x02\x00\x04\x00\x00" + bytes(12)  # cap_net_bind_service, effective
# What the entrypoint runs.
SCRIPT = """\
echo "id: $(id -u):$(id -g):$(id -G), in $PWD, greets $GREETING, home $HOME"
cd / && stat -c '%n %a %u:%g %h' srv srv/a srv/b bin/tool etc/shadow srv/fifo
ls -1 srv; cat srv/a old/kept usr/lib/through
echo written > /srv/out && echo wrote
exit 7
"""

pytestmark = [
    pytest.mark.guest,
    pytest.mark.skipif(not PackageClient.available(), reason="no apt-get on this host to fetch mke2fs with"),
]


def xenia(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "xenia", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)}, timeout=180, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The disk of an image with two layers, of which the second changes the first."""
    where = tmp_path_factory.mktemp("image")
    below = layer(
        file("bin/busybox", Debian().busybox, 0o755),
        *(symlink(f"bin/{name}", "busybox") for name in ("sh", "id", "stat", "ls", "cat", "echo")),
        folder("usr/lib"), symlink("lib", "/usr/lib"),
        file("etc/passwd", b"root:x:0:0::/root:/bin/sh\nweb:x:33:33::/srv:/bin/sh\n"),
        file("etc/group", b"web:x:33:\nlogs:x:4:web\n"), file("etc/shadow", b"", 0o640, gid=42),
        file("srv/gone"), file("old/hidden"),
    )  # fmt: skip
    attributes = {"SCHILY.xattr.security.capability": CAPABILITY.decode("utf-8", "surrogateescape")}
    above = layer(
        folder("srv", 0o1777), file("srv/a", b"one file\n", uid=33, gid=33), link("srv/b", "srv/a"),
        file("srv/.wh.gone"), file("old/.wh..wh..opq"), file("old/kept", b"kept\n"),
        file("lib/through", b"through a link\n"),
        file("../../bin/tool", b"#!/bin/sh\n", 0o4755, pax_headers=attributes), file("srv/fifo", type=b"6"),
    )  # fmt: skip
    config = configuration(
        [below, above], Entrypoint=["/bin/sh", "-c"], Cmd=[SCRIPT], User="web", WorkingDir="/srv",
        Env=["GREETING=ciao", "PATH=/bin"],
    )  # fmt: skip
    path = where / "image.tar"
    path.write_bytes(archive(oci_layout([below, above], "zstd", config=config)))
    done = xenia("image", "build", "--from", str(path), "-o", str(where / "root.img"), "--size", "128M", "--json", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["layers"] == 2
    return where / "root.img"


def test_the_images_own_command_runs_as_its_user_on_files_as_they_were_packed_and_ends_the_run(disk: Path) -> None:
    done = xenia("run", "-q", "--root", f"{disk},cow", "--append", "quiet")
    said = done.stdout.replace("\r", "")
    assert "id: 33:33:33 4, in /srv, greets ciao, home /srv\n" in said
    assert "srv 1777 0:0 2\nsrv/a 644 33:33 2\nsrv/b 644 33:33 2\nbin/tool 4755 0:0 1\netc/shadow 640 0:42 1\n" in said
    assert "srv/fifo 644 0:0 1\na\nb\nfifo\none file\nkept\nthrough a link\nwrote\n" in said
    assert done.returncode == 7


@pytest.mark.skipif(shutil.which("debugfs") is None, reason="no debugfs on this host to look into the disk with")
def test_capabilities_of_programs_are_on_the_disk(disk: Path) -> None:
    done = subprocess.run(
        ["debugfs", "-R", "ea_get -x bin/tool security.capability", disk], capture_output=True, text=True, check=True
    )
    assert bytes.fromhex(done.stdout.partition("=")[2]) == CAPABILITY


def test_a_command_takes_the_place_of_the_images_and_keeps_what_else_it_says(disk: Path) -> None:
    script = "echo $GREETING $HOME $(id -u); pwd; ls /old"
    done = xenia("run", "-q", "--root", f"{disk},cow", "--env", "GREETING=salve", "--", "sh", "-c", script)
    assert (done.stdout, done.stderr, done.returncode) == ("salve /srv 33\n/srv\nkept\n", "", 0)
