"""A domain's core: all that it has, and nothing of anybody else's, in a file that others read."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from struct import Struct

import pytest

from tests.guests import test_daemon
from tests.guests.cores import PAGE, ElfCore, XenCore
from tests.guests.test_daemon import create, is_called, listed, until, xenia
from tests.guests.test_locks import hog
from tests.guests.tiny import kernel
from xenia import ConfigError, Domain, Machine
from xenia.hypervisor.dump import own_frames
from xenia.shutdown import Reason

pytestmark = pytest.mark.guest
home = test_daemon.home

MIB = 1 << 20
NR_FRAMES = 8 * MIB // PAGE
SECRET = b"what the neighbour knows, and nobody else"
GENERAL = ["r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi"]


def spinning(machine: Machine, name: str = "spins") -> Domain:
    """A domain that does nothing else."""
    domain = machine.create_domain(kernel("spin"), name=name, memory=8 * MIB)
    domain.start()
    return domain


@pytest.fixture
def machine() -> Machine:
    return Machine(Machine.memory_for(8 * MIB, 8 * MIB), scatter=7)


def test_xens_format_has_every_frame_with_both_its_numbers_and_the_registers(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "core"
    with machine:
        domain = spinning(machine)
        domain.pause()
        domain.dump_core(path)
        core = XenCore(path)
        handle, memory = domain.handle, memoryview(domain.handle.machine.memory)
        assert domain.summary["paused"], "it was paused before"
        assert core.p2m == list(zip(*own_frames(handle), strict=True)) and len(core.p2m) == NR_FRAMES
        assert [pfn for pfn, _ in core.p2m] == list(range(NR_FRAMES))
        for _, mfn in core.p2m:
            assert core.frame(mfn) == bytes(memory[mfn * PAGE : (mfn + 1) * PAGE])
        assert Struct("<QQQQ").unpack(core.notes[0x2000001]) == (0xF00FEBED, 1, NR_FRAMES, PAGE)
        assert core.notes[0x2000000] == b"" and core.notes[0x2000003] == Struct("<Q").pack(1)
        assert Struct("<QQ16s").unpack_from(core.notes[0x2000002])[:2] == (4, 17)
        assert len(core.section(".xen_shared_info")) == PAGE and len(core.section(".xen_prstatus")) == 5168
        context = core.section(".xen_prstatus")
        registers = dict(zip(GENERAL, Struct("<15Q").unpack_from(context, 520), strict=True))
        (registers["rip"],) = Struct("<Q").unpack_from(context, 520 + 128)
        assert registers.items() <= handle.registers.items()
        (cr3,) = Struct("<Q").unpack_from(context, 520 + 200 + 4096 + 16 + 128 + 8 + 16 + 24)
        assert any(core.read(cr3 >> 12, registers["rip"], 2)), "there is code"
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.stat().st_blocks * 512 < NR_FRAMES * PAGE // 2 < path.stat().st_size, "zeros are holes"


def test_a_vmcore_is_by_pseudo_physical_address_and_so_are_its_page_tables(machine: Machine, tmp_path: Path) -> None:
    with machine:
        domain = spinning(machine)
        domain.pause()
        domain.dump_core(tmp_path / "xen")
        domain.dump_core(tmp_path / "elf", form="elf")
        assert domain.handle.audit() == []
    xen, elf = XenCore(tmp_path / "xen"), ElfCore(tmp_path / "elf")
    assert [(paddr, size) for paddr, _, size in elf.loads] == [(0, NR_FRAMES * PAGE)]
    ((name, kind, status),) = elf.notes
    assert (name, kind, len(status)) == ("CORE", 1, 336)
    context = xen.section(".xen_prstatus")
    assert status[112 : 112 + 120] == context[520 : 520 + 120]
    (rip,) = Struct("<Q").unpack_from(status, 112 + 16 * 8)
    (cr3,) = Struct("<Q").unpack_from(context, 520 + 200 + 4096 + 16 + 128 + 8 + 16 + 24)
    pfn_of = {mfn: pfn for pfn, mfn in xen.p2m}
    assert elf.read(pfn_of[cr3 >> 12], rip, 16) == xen.read(cr3 >> 12, rip, 16)
    same = [pfn for pfn, mfn in xen.p2m if elf.frame(pfn) == xen.frame(mfn)]
    assert NR_FRAMES - 64 < len(same) < NR_FRAMES, "but for page tables"


def test_what_a_domain_maps_of_another_is_not_in_its_core_and_a_live_one_goes_on(tmp_path: Path) -> None:
    with hog() as (machine, lender):
        window = lender.foreign.map([20])
        window.memory[: len(SECRET)] = SECRET
        borrower = machine.create_domain(kernel("borrower"), memory=16 * MIB)
        borrower.start()
        for number in range(8):
            path = tmp_path / "core"
            borrower.dump_core(path, form=("xen", "elf")[number % 2], live=number >= 4)
            assert SECRET not in path.read_bytes()
        assert borrower.wait(60) is not None
        lender.dump_core(path)
        assert SECRET in path.read_bytes()
        window.close()


def test_a_core_that_cannot_be_leaves_no_file_and_harms_nothing(machine: Machine, tmp_path: Path) -> None:
    with machine:
        domain = spinning(machine)
        with pytest.raises(ConfigError, match="No such file or directory"):
            domain.dump_core(tmp_path / "nowhere" / "core")
        reader, writer = os.pipe()
        with pytest.raises(ConfigError, match="into a file, which has room for holes"):
            domain.write_core(writer, "xen")
        os.close(reader)
        os.close(writer)
        full = os.open("/dev/full", os.O_WRONLY)
        with pytest.raises(ConfigError, match="into a file"):
            domain.write_core(full, "elf")
        os.close(full)
        assert domain.runs and not domain.summary["paused"]
        domain.destroy()
        with pytest.raises(ConfigError, match="it has no memory that could be dumped"):
            domain.dump_core(tmp_path / "core")
        assert not list(tmp_path.iterdir())


def test_a_domain_that_is_held_for_its_core_runs_no_instruction_until_it_is_crashed(
    machine: Machine, tmp_path: Path
) -> None:
    with machine:
        domain = spinning(machine)
        with (tmp_path / "core").open("wb") as file:
            domain.write_core(file.fileno(), "xen", crash=True)
        shutdown = domain.wait(60)
        assert shutdown is not None and shutdown.reason is Reason.CRASH
        assert "dump-core" in domain.crash_report
        (rip,) = Struct("<Q").unpack_from(XenCore(tmp_path / "core").section(".xen_prstatus"), 520 + 128)
        assert f"{rip:016x}" in domain.crash_report


def test_xl_dumps_the_core_of_a_domain_of_the_daemon_and_a_crash_leaves_one(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    left, path = tmp_path / "state" / "xenia" / "dump" / "web", tmp_path / "core"
    create("web", "on_crash=coredump-restart")
    xenia("dump-core", "web", str(path))
    assert XenCore(path).p2m and path.stat().st_mode & 0o777 == 0o600
    xenia("dump-core", "-L", "--format", "elf", "1", str(path))
    assert ElfCore(path).loads
    assert not listed()["web"]["paused"] and not left.exists()
    refused = xenia("dump-core", "nobody", str(path), status=1)
    assert refused.stderr == "xenia: nobody is an invalid domain identifier (rc=-6)\n"
    refused = xenia("dump-core", "web", str(tmp_path / "no" / "core"), status=1)
    assert refused.stderr == f"xenia: {tmp_path}/no/core: No such file or directory\n"
    xenia("dump-core", "-C", "web", str(path))
    until(partial(is_called, "web", 2))  # another, by what is to be on a crash
    assert XenCore(left).section(".xen_prstatus") == XenCore(path).section(".xen_prstatus")
    assert XenCore(left).p2m == XenCore(path).p2m and left.stat().st_mode & 0o777 == 0o600
