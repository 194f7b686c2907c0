"""Programs that nobody here wrote, with the tests that they bring: in a guest whose user code runs natively they come
to what they come to on the host.

The guest has the host's own file system (`--host-root`), so both run the very same files.  Some of it runs always;
`XENIA_SUITES=native` (or another engine's name) runs the whole list with that engine, which takes an hour.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.guests.test_run import XENIA, environment
from tests.peers.packaged import member_tree
from xenia.cpu.engines.native import host
from xenia.errors import ConfigError
from xenia.toolstack.provision.packages import PackageClient

pytestmark = pytest.mark.guest

ENGINE = os.environ.get("XENIA_SUITES")
ALL = ENGINE is not None
PATIENCE = 7200 if ALL else 500  # seconds for all programs
FEW = ("struct", "mmap", "fork1")
# Of Python's own test suite.
MODULES = (
    *FEW, "array", "ast", "asyncio", "base64", "binascii", "bisect", "bytes", "bz2", "cmath", "codecs", "collections",
    "compile", "complex", "configparser", "contextlib", "copy", "coroutines", "csv", "ctypes", "datetime", "decimal",
    "deque", "dict", "enum", "exceptions", "fileio", "float", "fractions", "json", "queue", "functools", "gc",
    "generators", "gzip", "hashlib", "heapq", "io", "itertools", "list", "long", "lzma", "marshal", "math",
    "memoryview", "operator", "pathlib", "pickle", "posix", "random", "re", "select", "set", "signal", "sqlite3",
    "statistics", "subprocess", "tempfile", "threading", "unicode", "weakref", "zlib",
)  # fmt: skip
COMPILING = (
    "set -e; cd {googletest}/googletest; for f in src/gtest-all src/gtest_main samples/sample1 "
    "samples/sample1_unittest; do g++ -O1 -I. -Iinclude -c $f.cc -o {own}/$(basename $f).o; done; cd {own}; "
    "g++ -o sample sample1.o sample1_unittest.o gtest-all.o gtest_main.o -lpthread; sha256sum <sample; "
    "./sample --gtest_print_time=0"
)
JIT = (
    "let a = 1, s = 0; for (let i = 0; i < 2e7; i++) { a = (Math.imul(a, 1103515245) + 12345) >>> 0;"
    " s ^= a >>> (i & 15); } const m = new Map();"
    " for (let i = 0; i < 1e5; i++) m.set('k' + i % 977, (m.get('k' + i % 977) || 0) + i);"
    " console.log(s, [...m.values()].reduce((x, y) => x + y))"
)


@dataclass(frozen=True)
class Program:
    """A line for the shell; what it prints is to be the same, or only its status."""

    name: str
    line: str
    prints_the_same: bool = True


def programs(own: Path) -> list[Program]:
    """Those whose files are on this host."""
    found, python = [], os.path.realpath(sys.executable)
    if importlib.util.find_spec("test.test_json") is not None:
        modules = MODULES if ALL else FEW
        found += [Program(f"python-{m}", f"{python} -m test -q test_{m}", False) for m in modules]
    if shutil.which("node"):
        found.append(Program("node", f'node -e "{JIT}"'))
    if shutil.which("xz"):
        found.append(Program("xz", f"xz -6 -T1 -c /bin/bash >{own}/x.xz; xz -t {own}/x.xz && sha256sum <{own}/x.xz"))
    if shutil.which("openssl"):
        found.append(Program("openssl", "openssl speed -seconds 1 -bytes 8192 sha256 aes-128-cbc", False))
        found.append(Program("digests", f"openssl dgst -sha512 -r {python}; openssl dgst -blake2b512 -r /bin/sh"))
    if shutil.which("perl"):
        found.append(
            Program(
                "perl", "perl -MDigest::SHA=sha1_hex -e 'print sha1_hex(join q(,), sort map {$_ ** 3 % 7919} 1..50000)'"
            )
        )
    if ALL and shutil.which("g++") and PackageClient.available():
        source = member_tree("googletest", "usr/src/googletest/", own / "googletest")
        found.append(Program("g++", COMPILING.format(googletest=source / "usr/src/googletest", own=own)))
    return found


@dataclass(frozen=True)
class Came:
    """To what a program came."""

    status: int
    seconds: float
    output: str


def outcomes(text: str) -> dict[str, Came]:
    found = {}
    for name, output, status, begun, ended in re.findall(
        r"^=== begins (\S+)\n(.*?)^=== ends (\d+) (\S+) (\S+)$", text.replace("\r", ""), re.M | re.S
    ):
        found[name] = Came(int(status), float(ended) - float(begun), output)
    return found


def script(chosen: list[Program]) -> str:
    lines = ["export PATH HOME=/tmp LC_ALL=C.UTF-8"]
    for each in chosen:
        lines += [
            f"echo '=== begins {each.name}'; read begun _ </proc/uptime",
            f"( {each.line} ) 2>&1 </dev/null; status=$?",
            'read ended _ </proc/uptime; echo; echo "=== ends $status $begun $ended"',
        ]
    return "\n".join(lines)


@pytest.mark.timeout(3 * PATIENCE)
def test_programs_come_to_the_same_in_a_guest(tmp_path: Path) -> None:
    engine = ENGINE or "native"
    try:
        host.require()
    except ConfigError as lack:
        pytest.skip(str(lack))
    chosen = programs(tmp_path)
    (tmp_path / "script").write_text(script(chosen))
    here = subprocess.run(
        ["sh", str(tmp_path / "script")], stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True
    )
    command = [
        *XENIA,
        "run",
        "-q",
        "--host-root",
        "--net",
        "none",
        "--memory",
        "1G",
        "--vcpus",
        "2",
        "--engine",
        engine,
    ]
    there = subprocess.run(
        [*command, "--", "sh", str(tmp_path / "script")],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True, env=environment(),
    )  # fmt: skip
    expected, found = outcomes(here.stdout), outcomes(there.stdout)
    assert expected.keys() == found.keys() == {each.name for each in chosen}
    wrong = {}
    for each in chosen:
        ours, theirs = expected[each.name], found[each.name]
        assert ours.status == 0 or not each.prints_the_same, ours.output
        print(f"{each.name:<24}{ours.seconds:8.2f} s on the host{theirs.seconds:8.2f} s {engine}")
        if theirs.status not in (0, ours.status) or (each.prints_the_same and ours.output != theirs.output):
            wrong[each.name] = theirs.output[-2000:]
    assert not wrong
