"""Folders of the host's in a stock guest: one boot, in which scripts do their work in them."""

import difflib
import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.guests.stock import program, skip_without
from tests.guests.test_run import LIMIT, XENIA, environment
from xenia.toolstack.provision.initramfs import FRONTENDS, OF_COPIES, OF_SHARES

pytestmark = pytest.mark.guest

PROGRAMS = Path(__file__).with_name("share")

# A line of a script that another line's failure does not end; what it says goes into a file of the shared folder.
SCRIPT = """\
S=/mnt/share
export GIT_CONFIG_GLOBAL=/dev/null
{ uname -n; pwd; stat -c %u:%g . ; } > $S/out.first 2>&1
{ mkdir /mnt/disk; mount -t ext4 /dev/xvda /mnt/disk && cd /mnt/disk && $S/files; } > $S/out.ext4 2>&1
{ mkdir $S/matrix; cd $S/matrix && $S/files; } > $S/out.share 2>&1
{ cd /mnt/read; cat file; touch new; rm file; echo x >> file; chmod 600 file; } > $S/out.read 2>&1
{ cd /mnt/copy; cat file; echo more >> file; rm -r folder; echo new > new; cat file new; ls; } > $S/out.copy 2>&1
{ touch /home/x; echo y > $HOST_FILE; cat $HOST_FILE; rm /usr/bin/env /etc/passwd; ls /usr/bin/env; id -u
} > $S/out.root 2>&1
{ cd $HOST_TREE && rm -r folder && echo x > file && mv link moved && chmod 0 . && mkdir new && ls && cat file
} > $S/out.tree 2>&1
{ cd $S; git clone -q $S/repository clone; cd clone; git status --short; make -j2 && ./program; } > $S/out.make 2>&1
{ cd $S/many; ls | wc -l; stat -c %s * | sort | uniq -c; cat 000* | md5sum; rm 000*; ls | wc -l; } > $S/out.many 2>&1
{ cd $S; for n in $(seq 50); do (echo $n > par.$n; mv par.$n par-$n; cat par-$n > /dev/null; echo ok) & done; wait
} > $S/out.parallel 2>&1
"""


@dataclass
class Done:
    """What was shared, after the guest has ended."""

    share: Path
    read: Path
    copy: Path
    host_file: Path
    host_tree: Path
    before: dict[str, str]

    def said(self, part: str) -> str:
        return (self.share / f"out.{part}").read_text()


def _hashes(folder: Path) -> dict[str, str]:
    return {
        f"{folder.name}/{path.relative_to(folder)}": hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    skip_without("amd64", (*FRONTENDS, *OF_SHARES, *OF_COPIES))
    if shutil.which("mke2fs", path="/usr/sbin:/sbin:" + os.environ["PATH"]) is None:
        pytest.skip("no mke2fs to make a disk to compare with")
    top = tmp_path_factory.mktemp("shares")
    folders = {name: top / name for name in ("share", "read", "copy")}
    for folder in folders.values():
        folder.mkdir()
        (folder / "file").write_text("as it was\n")
        (folder / "folder").mkdir()
    share = folders["share"]
    (share / "files").write_bytes(program("files", PROGRAMS))
    (share / "files").chmod(0o755)
    _repository(share / "repository")
    (share / "many").mkdir()
    for number in range(10000):
        (share / "many" / f"{number:05}").write_text(str(number))
    host_file = top / "host"
    host_file.write_text("the host's\n")
    disk = top / "ext4.img"
    os.truncate(os.open(disk, os.O_CREAT | os.O_RDWR, 0o600), 64 << 20)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", disk], check=True, env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"})
    tree = top / "tree"
    (tree / "folder" / "below").mkdir(parents=True)
    for path in (tree / "file", tree / "folder" / "file", tree / "folder" / "below" / "file"):
        path.write_text(f"{path}\n")
    (tree / "link").symlink_to("folder/file")
    before = _hashes(folders["copy"]) | _hashes(folders["read"]) | _hashes(tree)
    ran = subprocess.run(
        [*XENIA, "run", "-q", "--net", "none", "--memory", "512M", "--host-root", "--disk", disk,
         "--share", f"{share}:/mnt/share", "--share", f"{folders['read']}:/mnt/read:ro",
         "--rw-cow", f"{folders['copy']}:/mnt/copy", "--env", f"HOST_FILE={host_file}",
         "--env", f"HOST_TREE={tree}", "--", "sh", "-c", SCRIPT],
        env=environment(), cwd=share / "folder", capture_output=True, timeout=4 * LIMIT, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr.decode()
    yield Done(share, folders["read"], folders["copy"], host_file, tree, before)


def test_a_command_starts_in_the_folder_that_its_operator_is_in_and_is_root_there(done: Done) -> None:
    assert done.said("first") == "guest\n/mnt/share/folder\n0:0\n"


def test_files_in_the_share_do_what_they_do_on_ext4(done: Done) -> None:
    ext4, share = done.said("ext4").splitlines(), done.said("share").splitlines()
    assert len(ext4) > 130
    assert list(difflib.unified_diff(ext4, share, "ext4", "share", lineterm="")) == []


def test_a_folder_to_be_read_and_one_to_be_copied_stay_as_they_are(done: Done) -> None:
    assert done.said("read").startswith("as it was\n")
    assert done.said("read").count("Read-only file system") == 4
    assert done.said("copy").endswith("as it was\nmore\nnew\nfile\nnew\n")
    assert _hashes(done.copy) | _hashes(done.read) | _hashes(done.host_tree) == done.before


def test_the_hosts_own_root_is_the_guests_and_keeps_nothing_of_it(done: Done) -> None:
    said = done.said("root")
    assert "/home/x" in said and "Read-only" in said
    assert "\ny\n" in said and said.endswith("0\n")
    assert done.host_file.read_text() == "the host's\n"
    assert done.said("tree") == "file\nmoved\nnew\nx\n"
    assert _hashes(done.host_tree).items() <= done.before.items()
    assert done.host_tree.stat().st_mode & 0o777 and os.readlink(done.host_tree / "link") == "folder/file"
    assert "No such file" in said and Path("/usr/bin/env").exists() and Path("/etc/passwd").exists()


@pytest.mark.skipif(not all(map(shutil.which, ("git", "make", "gcc"))), reason="no git, make or gcc on this host")
def test_a_program_is_cloned_and_built_in_the_share(done: Done) -> None:
    assert done.said("make").endswith("\n42\n"), done.said("make")
    assert subprocess.run([done.share / "clone" / "program"], capture_output=True, check=True).stdout == b"42\n"


def test_ten_thousand_files_are_listed_and_looked_at(done: Done) -> None:
    digest = hashlib.md5("".join(map(str, range(100))).encode(), usedforsecurity=False).hexdigest()
    sizes = ["10", "1", "90", "2", "900", "3", "9000", "4"]
    assert done.said("many").split() == ["10000", *sizes, digest, "-", "9900"]
    assert len(os.listdir(done.share / "many")) == 9900


def test_fifty_processes_at_once_lose_nothing(done: Done) -> None:
    assert done.said("parallel").split() == ["ok"] * 50
    assert {(done.share / f"par-{n}").read_text() for n in range(1, 51)} == {f"{n}\n" for n in range(1, 51)}


def _repository(folder: Path) -> None:
    if shutil.which("git") is None:
        return
    folder.mkdir()
    (folder / "main.c").write_text(
        '#include <stdio.h>\nint one(int);\nint two(int);\nint main(void) { printf("%d\\n", one(two(39))); }\n'
    )
    (folder / "one.c").write_text("int one(int x) { return x + 1; }\n")
    (folder / "two.c").write_text("int two(int x) { return x + 2; }\n")
    (folder / "Makefile").write_text("program: main.o one.o two.o\n\t$(CC) -o $@ $^\n")
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run(["git", *words], cwd=folder, check=True, env={**os.environ, **who})


LIVE = """\
echo ready
until cat /m/file 2> /dev/null; do sleep 0.1; done
/m/locked /m/file
cd /m && echo inside
read -r _
cd /
while [ -e /sys/bus/xen/devices/9pfs-0 ]; do sleep 0.1; done
grep /m /proc/mounts || echo gone
"""


def test_a_folder_comes_and_goes_while_the_guest_runs(tmp_path: Path) -> None:
    skip_without("amd64", FRONTENDS, OF_SHARES)
    (tmp_path / "file").write_text("of the host\n")
    (tmp_path / "locked").write_bytes(program("locked", PROGRAMS))
    (tmp_path / "locked").chmod(0o755)
    name = f"shares-{os.getpid()}"

    def share(*words: str) -> str:
        done = subprocess.run(
            [*XENIA, "share", *words], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=LIMIT, check=False,
        )  # fmt: skip
        return done.stdout.decode()

    with subprocess.Popen(
        [*XENIA, "run", "-q", "--net", "none", "--name", name, "--", "sh", "-c", LIVE],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(),
    ) as guest, open(tmp_path / "file") as file:  # fmt: skip
        assert guest.stdout is not None and guest.stdin is not None
        try:
            assert guest.stdout.readline() == b"ready\n"
            assert share("attach", name, f"{tmp_path}:/m:ro") == "share0 at /m\n"
            assert [guest.stdout.readline(), guest.stdout.readline()] == [b"of the host\n", b"locked\n"]
            with pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            guest.stdin.write(b"\n")
            guest.stdin.flush()
            fcntl.flock(file, fcntl.LOCK_EX)  # once the guest's process has ended
            assert guest.stdout.readline() == b"inside\n"
            assert share("list", name).split() == [name, "share0", "ro", "connected", str(tmp_path), "at", "/m"]
            assert "a shared folder is at /m in the guest already" in share("attach", name, f"{tmp_path}:/m")
            assert "still uses it" in share("detach", name, "share0")
            guest.stdin.write(b"\n")
            guest.stdin.flush()
            while share("detach", name, "share0"):
                pass  # it has not left it yet
            assert guest.stdout.read() == b"gone\n"
            assert guest.wait(LIMIT) == 0
        finally:
            guest.terminate()


def test_a_kernel_without_a_client_has_a_copy_of_the_folder_on_a_disk(tmp_path: Path) -> None:
    skip_without("cloud-amd64", FRONTENDS)
    for name in ("one", "two"):
        (tmp_path / name / "folder").mkdir(parents=True)
        (tmp_path / name / "file").write_text(f"{name}\n")
    before = _hashes(tmp_path)
    words = [*XENIA, "run", "-q", "--net", "none", "--flavour", "cloud-amd64"]
    script = "pwd; stat -c %u:%g .; cat ../file; echo new > ../file; cat ../file /m/file; ls -a /m; touch /m/x; mount"

    def run(*options: str) -> tuple[int, str]:
        done = subprocess.run(
            [*words, *options, "--", "sh", "-c", script], env=environment(), cwd=tmp_path / "one" / "folder",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout.decode()

    status, said = run("--share", f"{tmp_path}/one:/mnt/src")
    assert status == 2 and said.count("\n") == 1
    offered = said.split()[-1]
    assert offered == f"{tmp_path}/one:/mnt/src:disk"
    status, said = run("--share", offered, "--share", f"{tmp_path}/two:/m:ro:disk")
    assert said.startswith("/mnt/src/folder\n0:0\none\nnew\ntwo\n.\n..\nfile\nfolder\ntouch: /m/x: Read-only"), said
    assert "/dev/xvdz on /mnt/src type ext4 (rw" in said and "/dev/xvdy on /m type ext4 (ro" in said
    assert status == 0 and _hashes(tmp_path) == before


def test_a_folder_that_came_while_the_guest_ran_is_there_again_after_its_reboot(tmp_path: Path) -> None:
    skip_without("amd64", FRONTENDS, OF_SHARES)
    for folder in ("first", "later", "gone"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").write_text(f"{folder}\n")
    name = f"again-{os.getpid()}"
    with subprocess.Popen(
        [*XENIA, "run", "--net", "none", "--on-reboot", "restart", "--name", name,
         "--share", f"{tmp_path}/first:/first", "--share", f"{tmp_path}/gone:/gone"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(),
    ) as guest:  # fmt: skip
        assert guest.stdout is not None and guest.stdin is not None
        try:

            def until(end: bytes) -> list[str]:
                assert guest.stdout is not None
                said = []
                for line in iter(guest.stdout.readline, b""):
                    if end in line:
                        break
                    said.append(line.decode().strip())
                return said

            def says(line: str) -> list[str]:
                """What the guest's shell answers to a line."""
                assert guest.stdin is not None
                guest.stdin.write(f"{line}; echo do''ne\n".encode())
                guest.stdin.flush()
                return until(b"done")

            until(b"Run /init")
            assert says("cat /first/file /gone/file")[-2:] == ["first", "gone"]
            for words in (["attach", name, f"{tmp_path}/later:/a/place:ro"], ["detach", name, "share1"]):
                subprocess.run([*XENIA, "share", *words], env=environment(), check=True, timeout=LIMIT)
            assert says("cat /first/file /a/place/file")[-2:] == ["first", "later"]
            guest.stdin.write(b"reboot -f\n")
            guest.stdin.flush()
            until(b"Run /init")
            said = says("cat /first/file /a/place/file; grep -c ' 9p ro' /proc/mounts; ls /gone")
            assert said[-4:] == ["first", "later", "1", "ls: /gone: No such file or directory"], said
            guest.stdin.write(b"poweroff -f\n")
            guest.stdin.flush()
            assert guest.wait(LIMIT) == 0
        finally:
            guest.kill()
