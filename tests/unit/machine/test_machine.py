"""Machine memory and the frame table."""

import ctypes
import os
import signal
import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from xenia.errors import ConfigError
from xenia.machine.machine import MachineMemory
from xenia.testing.pv_domain import PvDomain

PAGE = 4096


def walk(machine: MachineMemory, table: int, level: int) -> list[int]:
    """The leaf entries below a table of the hypervisor's own."""
    words = struct.unpack("512Q", bytes(memoryview(machine)[table * PAGE : (table + 1) * PAGE]))
    present = [word for word in words if word & 1]
    if level == 1:
        return present
    return [leaf for word in present for leaf in walk(machine, word >> 12 & 0xFFFFFFFFFF, level - 1)]


def test_frames_are_zeroed_distinct_and_counted() -> None:
    machine = MachineMemory(64 * PAGE)
    free = machine.nr_free
    frames = machine.allocate(1, 20)
    assert len(set(frames)) == 20
    assert machine.nr_free == free - 20
    assert all(bytes(memoryview(machine)[mfn * PAGE : (mfn + 1) * PAGE]) == bytes(PAGE) for mfn in frames)


def test_more_than_there_is_is_refused_in_one_line_and_nothing_is_taken() -> None:
    machine = MachineMemory(64 * PAGE)
    free = machine.nr_free
    with pytest.raises(ConfigError) as refusal:
        machine.allocate(1, free + 1)
    assert "\n" not in str(refusal.value)
    assert machine.nr_free == free
    assert len(machine.allocate(1, free)) == free
    assert machine.nr_free == 0


def test_no_frames_at_all_are_no_frames() -> None:
    assert list(MachineMemory(64 * PAGE).allocate(1, 0)) == []


def test_scattered_frames_follow_no_order_and_the_seed_repeats_it() -> None:
    first, again, other = (list(MachineMemory(256 * PAGE, scatter=seed).allocate(1, 100)) for seed in (1, 1, 2))
    assert first == again != other
    assert sum(b == a + 1 for a, b in pairwise(first)) < 10
    assert first != sorted(first)


def test_who_comes_after_another_has_its_frames_in_rows_again_unless_they_are_scattered() -> None:
    """Linux's 9pfs grants its rings by the number of the first of 512 frames (net/9p/trans_xen.c)."""
    for scatter in (None, 1):
        machine = MachineMemory(1024 * PAGE, scatter)
        PvDomain(512, machine=machine).relinquish()
        second = list(machine.allocate(2, 400))
        assert (second == sorted(second)) == (scatter is None)
        assert (sum(b == a + 1 for a, b in pairwise(second)) > 380) == (scatter is None)


def test_the_m2p_starts_out_saying_that_no_frame_has_a_pfn() -> None:
    machine = MachineMemory(64 * PAGE)
    assert len(machine.m2p) == 64
    assert set(machine.m2p) == {(1 << 64) - 1}


@pytest.mark.parametrize("frames", [64, 512, 513, 2048])
def test_the_m2p_is_mapped_frame_by_frame_read_only_for_the_supervisor_and_not_executable(frames: int) -> None:
    machine = MachineMemory(frames * PAGE)
    m2p_frames = -(-frames * 8 // PAGE)
    root = max(mfn for mfn in range(frames - machine.nr_free))  # the L3 is the last of Xen's frames
    leaves = walk(machine, root, 3)
    assert [leaf >> 12 & 0xFFFFFFFFFF for leaf in leaves] == list(range(1, 1 + m2p_frames))
    assert all(leaf & 7 == 1 and leaf >> 63 for leaf in leaves)


def test_memory_is_shared_through_its_descriptor() -> None:
    machine = MachineMemory(64 * PAGE)
    mfn = machine.allocate(1, 1)[0]
    memoryview(machine)[mfn * PAGE : mfn * PAGE + 5] = b"hello"
    assert os.pread(machine.fd, 5, mfn * PAGE) == b"hello"
    assert os.fstat(machine.fd).st_size == 64 * PAGE


def test_untouched_memory_costs_nothing() -> None:
    machine = MachineMemory(1 << 30)
    assert os.fstat(machine.fd).st_blocks * 512 < 4 << 20


def reserved(machine: MachineMemory) -> tuple[int, int]:
    """How many bytes with nothing mapped, for good, lie before and behind the memory."""
    start = ctypes.addressof((ctypes.c_char * (machine.nr_frames * PAGE)).from_buffer(machine))
    around: dict[str, int] = {}
    for line in Path("/proc/self/maps").read_text().splitlines():
        bounds, rights = line.split()[:2]
        first, end = (int(bound, 16) for bound in bounds.split("-"))
        if rights.startswith("---"):
            around.update({"before": end - first} if end == start else {})
            around.update({"behind": end - first} if first == start + machine.nr_frames * PAGE else {})
    return around.get("before", 0), around.get("behind", 0)


def test_every_frame_number_of_32_bits_is_guarded() -> None:
    before, behind = reserved(MachineMemory(64 * PAGE))
    assert before >= 1 << 30
    assert behind >= (1 << 32) * PAGE - 64 * PAGE


def test_many_machines_find_room_with_smaller_guards() -> None:
    machines = [MachineMemory(64 * PAGE) for _ in range(20)]
    assert min(reserved(machine) for machine in machines) >= (1 << 30, 1 << 32)
    del machines
    assert reserved(MachineMemory(64 * PAGE))[1] >= 1 << 44


STRAY = """
import ctypes
from xenia.machine.machine import MachineMemory
from xenia.testing.pv_domain import PvDomain
machine = MachineMemory(64 << 12)
start = ctypes.addressof((ctypes.c_char * (64 << 12)).from_buffer(machine))
ctypes.memset(start + {offset}, 1, 1)
"""


@pytest.mark.parametrize("offset", [-1, 64 << 12, (1 << 44) - 1, -(1 << 30)])
def test_a_frame_number_that_was_not_checked_ends_the_process(offset: int) -> None:
    ended = subprocess.run([sys.executable, "-c", STRAY.format(offset=offset)], check=False)
    assert ended.returncode == -signal.SIGSEGV


def test_where_address_space_is_limited_the_guards_are_little() -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))"
    ended = subprocess.run([sys.executable, "-c", limit + STRAY.format(offset=64 << 12)], check=False)
    assert ended.returncode == -signal.SIGSEGV
