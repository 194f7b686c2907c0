"""Images with wrong bytes, given to every verb of `xenia disk`: a refusal or an answer, in bounded memory and time.

In a process of its own with limits, so that what is without bounds ends there. Longer, from the project's root:

    python -m tests.unit.toolstack.disks.test_disk_fuzz SEED ROUNDS
"""

import json
import os
import random
import resource
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from xenia.cli.main import command
from xenia.storage.luks2 import HEADER_SIZE, MAGIC_1, MAGIC_2, Cost, format_luks, pack, read_metadata
from xenia.storage.memory import Memory
from xenia.storage.qcow2.create import create_image
from xenia.storage.qcow2.header import read_header
from xenia.storage.qcow2.image import Qcow2

MEMORY = 2 << 30  # address space of the process
SECONDS = 20  # of processor time for one image
ROUNDS = 20
EDGES = (0, 1, 8, 0xFF, 0xFFFF, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 62, (1 << 63) - 1, (1 << 64) - 1)


def qcow2(chance: random.Random) -> bytearray:
    """An image with all kinds of clusters, whose header, tables or anything have wrong numbers."""
    container = Memory(0)
    version, bits = chance.choice((2, 3)), chance.choice((9, 12, 16))
    compression = "zlib" if version == 2 else chance.choice(("zlib", "zstd"))
    header = create_image(container, 1 << 20, version=version, cluster_bits=bits, compression=compression)
    disk = Qcow2(container, header, compress=True)
    disk.pwrite(b"compresses well " * 4096, 0)
    disk.write_zeroes(1 << 17, 1 << 16)
    disk.flush()
    plain = Qcow2(container, read_header(container, "it"))
    plain.pwrite(random.Random(1).randbytes(1 << 16), 1 << 18)
    plain.flush()
    data = bytearray(container.pread(0, container.size))
    tables = [0, header.l1_offset, header.refcount_table_offset, 3 << bits, 4 << bits]
    for _ in range(chance.choice((1, 2, 4, 16))):
        at = (chance.choice(tables) + chance.randrange(0, 128, 4)) % (len(data) - 8)
        if chance.random() < 0.5:
            struct.pack_into(">Q", data, at, chance.choice((*EDGES, chance.randrange(len(data)) & ~511)))
        else:
            data[at] ^= 1 << chance.randrange(8)
    return data


def luks(chance: random.Random) -> bytearray:
    """An encrypted disk whose JSON has other values, under checksums that are right."""
    disk = Memory((16 << 20) + 8192)
    format_luks(disk, b"key", cost=Cost(1000, 0, digest=1000))
    metadata = read_metadata(disk, "it")
    for _ in range(chance.choice((1, 2, 3))):
        place: object = metadata
        while isinstance(place, dict) and place:
            key = chance.choice(list(place))
            if isinstance(place[key], dict) and chance.random() < 0.9:
                place = place[key]
                continue
            place[key] = chance.choice(
                (
                    -1,
                    0,
                    1,
                    1 << 31,
                    1 << 70,
                    1e300,
                    "",
                    "x",
                    "-5",
                    "sha512",
                    "shake_128",
                    "\0",
                    None,
                    [],
                    {},
                    [[]],
                    "9" * 30,
                )
            )
            break
    text = json.dumps(metadata).encode()[: HEADER_SIZE - 4096]
    for offset, magic in ((0, MAGIC_1), (HEADER_SIZE, MAGIC_2)):
        disk.pwrite(pack(magic, offset, b"it", text), offset)
    return bytearray(disk.pread(0, disk.size))


def use(kind: str, image: Path, directory: Path, chance: random.Random) -> None:
    """Every verb; each ends with 0, 1 or 2."""
    key = directory / "key"
    key.write_bytes(b"key")
    stack = {"qcow2": f"qcow2:{image}", "luks": f"file:{image},crypt:key=@{key}"}[kind]
    target = chance.choice(("file", "qcow2"))
    for words in (
        ["info", stack], ["check", stack], ["convert", stack, f"{target}:{directory}/copy", "--force"],
        ["convert", f"{stack},cow", f"qcow2:{directory}/copy", "--force", "--no-backing"],
        ["check", stack, "--repair"], ["info", stack, "--json"],
    ):  # fmt: skip
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = command(["disk", *words])
        assert status in (0, 1, 2), f"{words}: {status}: {err.getvalue()}"
    (directory / "copy").unlink(missing_ok=True)


MAKERS: dict[str, Callable[[random.Random], bytearray]] = {"qcow2": qcow2, "luks": luks}


def fuzz(seed: int, rounds: int) -> None:
    """So many images, from that seed on."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 32, 1 << 32))
    with tempfile.TemporaryDirectory() as name:
        for number in range(seed, seed + rounds):
            chance = random.Random(number)
            kind = "luks" if number % 4 == 3 else "qcow2"
            image = Path(name, "image")
            image.write_bytes(MAKERS[kind](chance))
            spent = int(sum(os.times()[:2]))
            resource.setrlimit(resource.RLIMIT_CPU, (spent + SECONDS, resource.RLIM_INFINITY))
            print(f"seed {number}", flush=True)
            use(kind, image, Path(name), chance)


@pytest.mark.parametrize("seed", [0, 1000])
def test_every_verb_answers_an_image_with_wrong_bytes_within_bounds(seed: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.toolstack.disks.test_disk_fuzz", str(seed), str(ROUNDS)],
        cwd=Path(__file__).parents[4], env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True, text=True,
    )  # fmt: skip
    assert not done.returncode, f"after {done.stdout.splitlines()[-1:]}: {done.stderr[-2000:]}"


if __name__ == "__main__":
    fuzz(int(sys.argv[1]), int(sys.argv[2]))
