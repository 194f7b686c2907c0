"""A kernel module that is built in a shared folder, in the guest and for its kernel, and loaded there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.testing.guests import Debian
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.provision.packages import PackageClient

SOURCE = Path(__file__).parents[2] / "src"
LIMIT = 500  # seconds

pytestmark = [
    pytest.mark.guest,
    pytest.mark.timeout(LIMIT + 100),
    pytest.mark.skipif(not PackageClient.available(), reason="no apt-get on this host to fetch Debian's kernel with"),
    pytest.mark.skipif(not all(map(shutil.which, ("gcc", "make"))), reason="no gcc or make on this host"),
]

MODULE = """\
#include <linux/module.h>

static int answer;
module_param(answer, int, 0444);

static int __init hello(void)
{
    pr_info("hello: built where it runs, %d\\n", answer);
    return 0;
}

static void __exit goodbye(void)
{
    pr_info("hello: goodbye\\n");
}

module_init(hello);
module_exit(goodbye);
MODULE_LICENSE("GPL");
"""
SCRIPT = """\
set -e
make -s -C "$HEADERS" M="$PWD" modules >&2
./busybox insmod ./hello.ko answer=42
cat /sys/module/hello/parameters/answer
./busybox rmmod hello
dmesg | grep -o -E 'hello: (built|goodbye).*'
"""


def headers(release: str) -> Path:
    """What modules for that kernel of Debian's are built with, kept in the cache.  ConfigError."""
    cache = Cache()
    target = cache.path("peers", f"headers-{release}")
    if not target.exists():
        client = PackageClient(cache)
        flavour = release.split("-", 2)[-1]
        version = release.split("-")[0].rsplit(".", 1)[0]
        common = f"linux-headers-{release.removesuffix(flavour)}common"
        with cache.locked("headers"), cache.new_directory(target) as folder:
            for name in (f"linux-headers-{release}", common, f"linux-kbuild-{version}"):
                package = client.download(client.find([name]), folder)
                subprocess.run(["dpkg-deb", "-x", package, folder], check=True)
                package.unlink()
            makefile = folder / f"usr/src/linux-headers-{release}/Makefile"
            makefile.write_text(makefile.read_text().replace("/usr/src/", f"{target}/usr/src/"))
    return target / f"usr/src/linux-headers-{release}"


def test_a_module_is_built_in_the_shared_folder_and_loaded(tmp_path: Path) -> None:
    try:
        place = headers(Debian().kernel().release)
    except ConfigError as missing:
        pytest.skip(str(missing))
    (tmp_path / "hello.c").write_text(MODULE)
    (tmp_path / "Makefile").write_text("obj-m := hello.o\n")
    busybox = tmp_path / "busybox"  # a host in a container has no insmod
    busybox.write_bytes(Debian().busybox)
    busybox.chmod(0o755)
    command = [
        sys.executable, "-m", "xenia", "run", "-q", "--net", "none", "--memory", "512M", "--host-root", "--share", ".",
        "--env", f"HEADERS={place}", "--", "sh", "-c", SCRIPT,
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert done.stdout == "42\nhello: built where it runs, 42\nhello: goodbye\n", done.stderr
    assert done.returncode == 0
    built = (tmp_path / "hello.ko").read_bytes()
    assert re.search(rb"vermagic=" + re.escape(Debian().kernel().release.encode()), built), "it is the host's to keep"
