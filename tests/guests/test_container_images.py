"""A root disk from a container image, built and run; all tests share one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from xenia.testing.containers import archive, configuration, file, folder, layer, link, oci_layout, sparse, symlink
from xenia.testing.guests import Debian
from xenia.toolstack.provision.packages import PackageClient

SOURCE = Path(__file__).parents[2] / "src"
CAPABILITY = b"\x01\x00\x00\x02\x00\x04\x00\x00" + bytes(12)  # cap_net_bind_service, effective
ANY = b"\0any \xff=\n"  # what an attribute may be
# As layers say it: more than a float has, before 1970, after what 32 bits and an archive's field have, before ext4's.
TIMES = {
    "1234567890.123456789": "1234567890.123456789", "1000000000.25": "1000000000.250000000",
    "-100.5": "-101.500000000", "9876543210.75": "9876543210.750000000", "-99999999999": "-2147483648.000000000",
}  # fmt: skip
LARGE = 9 << 30  # bytes of a file, of which nearly all are a hole
LONG = f"{'d' * 250}/{'e' * 255}"
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


needs_debugfs = pytest.mark.skipif(
    shutil.which("debugfs") is None, reason="no debugfs on this host to look into the disk with"
)


def changed(disk: Path, path: str) -> str:
    """When a file on an ext4 disk was changed: seconds and nanoseconds, of 34 and 30 bits."""
    done = subprocess.run(["debugfs", "-R", f"stat {path}", disk], capture_output=True, text=True, check=True)
    found = re.search(r"mtime: 0x(\w{8}):(\w{8})", done.stdout)
    assert found is not None, done.stdout + done.stderr
    seconds, more = int(found[1], 16), int(found[2], 16)
    seconds -= (seconds >> 31) << 32
    return f"{seconds + ((more & 3) << 32)}.{more >> 2:09}"


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
    users = {"SCHILY.xattr.user.any": ANY.decode("utf-8", "surrogateescape"), "SCHILY.xattr.user.none": ""}
    above = layer(
        folder("srv", 0o1777), file("srv/a", b"one file\n", uid=33, gid=33), link("srv/b", "srv/a"),
        file("srv/.wh.gone"), file("old/.wh..wh..opq"), file("old/kept", b"kept\n"),
        file("lib/through", b"through a link\n"),
        file("../../bin/tool", b"#!/bin/sh\n", 0o4755, pax_headers=attributes), file("srv/fifo", type=b"6"),
        folder("times"), *(file(f"times/{time}", pax_headers={"mtime": time}) for time in TIMES),
        file("dated", type=tarfile.DIRTYPE, mode=0o755, pax_headers={"mtime": "1000000000.25"}), file("dated/below"),
        file("dated/link", type=tarfile.SYMTYPE, linkname="below", pax_headers={"mtime": "1000000000.5", **users}),
        link("dated/same", "dated/link"), file("dated/fifo", type=b"6", pax_headers=users),
        file("dated/node", type=b"3", devmajor=259, devminor=300000),
        file(LONG, b"long\n", uid=1 << 31, pax_headers=users),
        sparse("large", LARGE, {0: b"begin".ljust(512), LARGE - 512: b"end".rjust(512)}, uid=33),
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


@needs_debugfs
def test_capabilities_of_programs_and_other_attributes_are_on_the_disk(disk: Path) -> None:
    def attribute(path: str, name: str) -> bytes:
        done = subprocess.run(
            ["debugfs", "-R", f"ea_get -x {path} {name}", disk], capture_output=True, text=True, check=True
        )
        return bytes.fromhex(done.stdout.partition("=")[2])

    assert attribute("bin/tool", "security.capability") == CAPABILITY
    assert attribute(LONG, "user.any") == ANY


@needs_debugfs
def test_times_of_files_are_on_the_disk_as_precisely_as_ext4_has_them(disk: Path) -> None:
    assert {time: changed(disk, f"times/{time}") for time in TIMES} == TIMES


@needs_debugfs
def test_directories_and_links_keep_their_times_too(disk: Path) -> None:
    assert changed(disk, "dated") == "1000000000.250000000"
    assert changed(disk, "dated/link") == changed(disk, "dated/same") == "1000000000.500000000"


def test_names_owners_devices_and_files_with_holes_are_as_large_as_they_may_be(disk: Path) -> None:
    script = (
        f"cd /; cat {LONG}; stat -c %u {LONG}; cd dated; stat -c '%a %h %F' link; stat -c '%F %t %T' node fifo;"
        "cd /; stat -c '%s %u' large; du -k large | cut -f 1; head -c 5 large; tail -c 3 large"
    )
    done = xenia("run", "-q", "--root", f"{disk},cow", "--", "sh", "-c", script)
    *said, size, blocks, data = done.stdout.split("\n")
    assert said == [
        "long", "2147483648", "777 2 symbolic link", "character special file 103 493e0", "fifo 0 0",
    ]  # fmt: skip
    assert (size, data) == (f"{LARGE} 33", "beginend") and int(blocks) <= 16


def test_a_command_takes_the_place_of_the_images_and_keeps_what_else_it_says(disk: Path) -> None:
    script = "echo $GREETING $HOME $(id -u); pwd; ls /old"
    done = xenia("run", "-q", "--root", f"{disk},cow", "--env", "GREETING=salve", "--", "sh", "-c", script)
    assert (done.stdout, done.stderr, done.returncode) == ("salve /srv 33\n/srv\nkept\n", "", 0)
