"""newc archives: the same bytes everywhere, and readable by others."""

import shutil
import subprocess

import pytest

from xenia.toolstack.provision.cpio import CpioArchive


def make() -> bytes:
    archive = CpioArchive()
    archive.directory("/dev")
    archive.character_device("/dev/console", 5, 1)
    archive.file("/init", b"#!/bin/sh\n", 0o755)
    archive.symlink("/sh", "init")
    return archive.finish()


def test_an_entry_is_110_bytes_of_hexadecimal_then_name_and_data_each_padded_to_4() -> None:
    archive = CpioArchive()
    archive.file("/a", b"xyz", 0o644)
    data = archive.finish()
    assert data[:6] == b"070701"
    fields = [int(data[at : at + 8], 16) for at in range(6, 110, 8)]
    assert fields == [1, 0o100644, 0, 0, 1, 0, 3, 0, 0, 0, 0, 2, 0]
    assert data[110:116] == b"a\0xyz\0"
    assert data[116:122] == b"070701"


def test_the_same_entries_give_the_same_bytes_in_whole_blocks() -> None:
    assert make() == make()
    assert len(make()) % 512 == 0


@pytest.mark.skipif(shutil.which("cpio") is None, reason="compares with cpio, which is not installed")
def test_cpio_reads_it() -> None:
    answer = subprocess.run(["cpio", "-tv", "--quiet"], input=make(), capture_output=True, check=True)
    lines = [line.split() for line in answer.stdout.decode().splitlines()]
    assert [(line[0], line[-1]) for line in lines] == [
        ("drwxr-xr-x", "dev"),
        ("crw-------", "dev/console"),
        ("-rwxr-xr-x", "init"),
        ("lrwxrwxrwx", "init"),
    ]
