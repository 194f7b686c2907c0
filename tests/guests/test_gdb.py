"""Guests under a debugger: the real gdb on a stock kernel, and clients that lie."""

from __future__ import annotations

import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.assembler import assemble
from tests.guests.shell import Shell
from tests.guests.tiny import kernel
from xenia import Domain, GuestFault, Machine, Reason
from xenia.cpu.engines.native import host
from xenia.toolstack.debug.listener import Listener, listen
from xenia.toolstack.debug.packet import Packets, packet
from xenia.toolstack.debug.server import DebugServer
from xenia.toolstack.provision.cache import Cache
from xenia.toolstack.symbols.btf import kernel_types
from xenia.toolstack.symbols.kallsyms import read_kallsyms
from xenia.toolstack.symbols.kernel_memory import KernelMemory
from xenia.toolstack.symbols.modules import loaded_modules
from xenia.toolstack.symbols.own import own_symbols

pytestmark = pytest.mark.guest

MIB = 1 << 20
LIMIT = 120
GDB = shutil.which("gdb")


@contextmanager
def served(domain: Domain, path: Path) -> Iterator[Listener]:
    """Debuggers come in there."""
    listener = listen(f"unix:{path}", domain.name)
    server = DebugServer(listener.socket, None, lambda: domain)
    server.start()
    try:
        yield listener
    finally:
        server.close()
        path.unlink()


class Gdb:
    """A gdb, told and asked line by line."""

    def __init__(self, place: object, symbols: Path | None = None, before: Sequence[str] = ()) -> None:
        if GDB is None:
            pytest.skip("there is no gdb")
        self._process = subprocess.Popen(
            [GDB, "-nx", "-q", "--interpreter=mi2", "-ex", "set confirm off", "-ex", "set debuginfod enabled off"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        for line in (*before, *([f"file {symbols}"] if symbols is not None else [])):
            self.do(line)
        self.do(f"target remote {place}")

    def __enter__(self) -> Gdb:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def interrupt(self) -> None:
        """As Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def begin(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def until(self, pattern: str) -> str:
        """What it says up to a line that matches."""
        assert self._process.stdout is not None
        said = ""
        while line := self._process.stdout.readline():
            said += line
            if re.search(pattern, line):
                return said
        raise AssertionError(said)

    def do(self, line: str) -> str:
        """What a command says that does not let the guest go on."""
        self.begin(line)
        said = self.until(r"^\^(done|error|connected)")
        assert "^error" not in said, said
        return re.sub(r'^~"(.*)"$', lambda text: text[1].replace("\\n", "\n"), said, flags=re.M)

    def go(self, line: str) -> str:
        """And of one that does: why it stopped."""
        self.begin(line)
        return self.until(r"^\*stopped").splitlines()[-1]

    def number(self, expression: str) -> int:
        found = re.search(r"= 0x([0-9a-f]+)", self.do(f"print/x {expression}"))
        assert found is not None
        return int(found[1], 16)


@pytest.fixture(scope="module")
def guest() -> Iterator[Shell]:
    """A stock kernel on two vcpus."""
    with Machine(Machine.memory_for(128 * MIB)) as machine:
        guest = Shell(machine, "debugged", ("loop",), vcpus=2)
        guest.domain.start()
        guest.do("echo 0 > /proc/sys/kernel/kptr_restrict")
        yield guest
        assert guest.domain.handle.audit() == []


@pytest.fixture
def gdb(guest: Shell, tmp_path: Path) -> Iterator[Gdb]:
    with served(guest.domain, tmp_path / "gdb") as listener, Gdb(listener.place) as gdb:
        yield gdb


def symbols(guest: Shell, *names: str) -> list[int]:
    """Their addresses, as the guest itself tells them."""
    lines = guest.do(f"grep -E ' ({'|'.join(names)})$' /proc/kallsyms").splitlines()
    found = {name: int(address, 16) for address, _, name in map(str.split, lines)}
    return [found[name] for name in names]


@pytest.fixture(scope="module")
def places(guest: Shell) -> list[int]:
    return symbols(guest, "__x64_sys_getppid", "__x64_sys_sync", "jiffies_64", "linux_banner")


def test_vcpus_are_threads_and_memory_and_registers_are_the_guests(gdb: Gdb, guest: Shell, places: list[int]) -> None:
    threads = gdb.do("info threads")
    assert "vcpu 0 of domain" in threads and "vcpu 1 of domain" in threads
    assert "Linux version " in gdb.do(f"x/s {places[3]:#x}")
    gdb.do("thread 2")
    registers = guest.domain.vcpus[1].registers
    for name in ("rip", "rsp", "gs_base", "cr3", "rflags"):
        assert gdb.number(f"${'eflags' if name == 'rflags' else name}") == registers[name]
    gdb.do("set var $r15 = 0x1234")
    gdb.do("set var $xmm3.v2_int64[1] = 77")
    assert guest.domain.vcpus[1].registers["r15"] == 0x1234 and guest.domain.vcpus[1].fpu[216:224] == bytes(
        [77, *[0] * 7]
    )
    gdb.do(f"set var $r15 = {registers['r15']}")
    assert f"pseudo-physical {guest.domain.memory.translate(places[3]):#x}" in gdb.do(f"monitor walk {places[3]:#x}")
    assert 'name = "debugged"' in gdb.do("monitor xenstore").replace('\\"', '"')


def test_a_kernel_stops_in_a_system_call_and_is_stepped(gdb: Gdb, guest: Shell, places: list[int]) -> None:
    for command, number in (("break", 1), ("hbreak", 2)):
        gdb.do(f"{command} *{places[1]:#x}")
        gdb.begin("continue")
        answer = guest.begin("sync; echo synced")
        assert 'reason="breakpoint-hit"' in gdb.until(r"^\*stopped")
        assert gdb.number("$rip") == places[1]
        assert guest.domain.memory.read(places[1], 1) != b"\xcc", "nothing was written there"
        for _ in range(5):
            before = gdb.number("$rip")
            assert 'reason="end-stepping-range"' in gdb.go("stepi")
            assert gdb.number("$rip") != before
            assert not gdb.number("$eflags") & 0x10100, "TF and RF are the debugger's"
        gdb.do(f"delete {number}")
        gdb.begin("continue")
        assert guest.finish(answer) == (0, "synced\n")
        gdb.interrupt()
        assert "SIGINT" in gdb.until(r"^\*stopped")


def test_a_variable_is_watched_and_stops_the_vcpu_that_changed_it(gdb: Gdb, guest: Shell, places: list[int]) -> None:
    gdb.do(f"watch *(long long *){places[2]:#x}")
    before = gdb.number(f"*(long long *){places[2]:#x}")
    for _ in range(3):
        assert 'reason="watchpoint-trigger"' in gdb.go("continue")
        assert gdb.number(f"*(long long *){places[2]:#x}") > before
        before = gdb.number(f"*(long long *){places[2]:#x}")


def test_the_guest_goes_on_when_a_debugger_lets_go_or_dies(guest: Shell, places: list[int], tmp_path: Path) -> None:
    with served(guest.domain, tmp_path / "gdb") as listener:
        for leaves in ("detach", ""):
            with Gdb(listener.place) as gdb:
                gdb.do(f"break *{places[0]:#x}")
                gdb.do(f"rwatch *(long long *){places[2]:#x}")
                gdb.go("continue")
                if leaves:
                    gdb.do(leaves)
            assert guest.do("cd /; echo $PPID; sync; echo whole").endswith("whole\n")
    assert not guest.domain.pauses.stands


def test_both_vcpus_stop_when_one_does_and_one_can_go_alone(gdb: Gdb, guest: Shell, places: list[int]) -> None:
    gdb.do(f"break *{places[1]:#x}")
    gdb.begin("continue")
    answer = guest.begin("(sync & taskset 2 sync; wait) 2>/dev/null; echo both")
    gdb.until(r"^\*stopped")
    first = [vcpu.registers["rip"] for vcpu in guest.domain.vcpus]
    gdb.do("set scheduler-locking on")
    current = gdb.number("$_thread") - 1
    gdb.go("stepi")
    second = [vcpu.registers["rip"] for vcpu in guest.domain.vcpus]
    assert first[1 - current] == second[1 - current] and first[current] != second[current]
    gdb.do("set scheduler-locking off")
    gdb.do("delete")
    gdb.do("detach")
    assert guest.finish(answer) == (0, "both\n")


ENTRY = 0x400078


def elf(source: str) -> bytes:
    """A static program, of that machine code alone."""
    code = assemble(source)
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, ENTRY, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0, 120 + len(code), 120 + len(code), 4096) + code


@pytest.mark.parametrize("engine", ["emulated", "native"])
def test_a_program_stops_where_a_debugger_wants_wherever_it_runs(engine: str, tmp_path: Path) -> None:
    if engine == "native" and (lack := host.lack()) is not None:
        pytest.skip(lack)
    with Machine(Machine.memory_for(128 * MIB), engine=engine) as machine:
        guest = Shell(machine, "program", ("loop",), files={"bin/spin": elf("1: inc %rbx; nop; jmp 1b")})
        guest.domain.start()
        guest.do("chmod +x /bin/spin; spin &")
        while engine == "native" and not guest.domain.statistics["native_moves"]:
            guest.do("true")
        with served(guest.domain, tmp_path / "gdb") as listener, Gdb(listener.place) as gdb:
            gdb.do(f"break *{ENTRY:#x}")
            turns = []
            for _ in range(5):
                assert 'reason="breakpoint-hit"' in gdb.go("continue")
                assert gdb.number("$rip") == ENTRY
                turns.append(gdb.number("$rbx"))
            assert turns == list(range(turns[0], turns[0] + 5))
            gdb.do("delete")
            gdb.do("detach")
        assert guest.do("kill %1; echo over").endswith("over\n")
        assert guest.domain.handle.audit() == []


def test_hypercalls_are_traced_and_event_channels_listed(gdb: Gdb, guest: Shell) -> None:
    events = gdb.do("monitor events")
    assert re.findall(r"(\d+) +(?:pending|-) +(?:masked|-) +virq 0 \(timer\)", events) == ["0", "1"]
    assert "interdomain, domain 0 (Xenia)" in events
    assert "no hypercall was traced" in gdb.do("monitor trace show")
    gdb.do("monitor trace on sched_op vcpu_op")
    gdb.begin("continue")
    guest.do("usleep 20000")
    gdb.interrupt()
    gdb.until(r"^\*stopped")
    traced = re.findall(r"vcpu [01]  (\w+)\(0x", gdb.do("monitor trace show 4096"))
    assert set(traced) == {"sched_op", "vcpu_op"}
    gdb.do("monitor trace off")
    assert len(re.findall(r"vcpu [01]  ", gdb.do("monitor trace show 3"))) == 3
    assert "there is no hypercall" in gdb.do("monitor trace on nonsense")


def mapped(guest: Shell, address: int, size: int) -> bytes:
    try:
        return guest.domain.memory.read(address, size)
    except GuestFault as fault:
        return guest.domain.memory.read(address, fault.va - address)


def test_a_kernels_names_are_found_in_its_memory(guest: Shell) -> None:
    told = [line.split() for line in guest.do("grep -v '\\[' /proc/kallsyms").splitlines()]
    found = read_kallsyms(KernelMemory(lambda address, size: mapped(guest, address, size)))
    assert sorted((f"{one.address:016x}", one.kind, one.name) for one in found) == sorted(map(tuple, told))


def callers_in_loop(gdb: Gdb, guest: Shell) -> str:
    """Who called the driver of loop devices where the guest asks it for a free one; gdb lets the guest go then."""
    gdb.do("break loop_control_ioctl")
    gdb.begin("continue")
    answer = guest.begin("losetup -f; echo looked")
    gdb.until(r"^\*stopped")
    callers = gdb.do("bt")
    gdb.do("delete")
    gdb.do("detach")
    assert guest.finish(answer)[1].endswith("looked\n")
    return callers


def test_the_names_of_modules_are_found_in_memory_and_gdb_knows_them(guest: Shell, tmp_path: Path) -> None:
    told = [line.split()[:3:2] for line in guest.do("grep '\\[loop\\]' /proc/kallsyms").splitlines()]
    assert "loop_control_ioctl" in [name for _, name in told]

    def read(address: int, size: int) -> bytes:
        return mapped(guest, address, size)

    memory = KernelMemory(read)
    symbols = read_kallsyms(memory)
    modules = {one.name: one.symbols for one in loaded_modules(read, symbols, kernel_types(memory, symbols))}
    assert sorted([f"{one.address:016x}", one.name] for one in modules["loop"]) == sorted(told)
    place = next(one for one in modules["loop"] if one.name == "loop_control_ioctl")
    file = own_symbols(read, Cache(tmp_path))
    with served(guest.domain, tmp_path / "gdb") as listener, Gdb(listener.place, file) as gdb:
        assert "loop_control_ioctl + 4 in section .text.loop" in gdb.do(f"info symbol {place.address + 4:#x}")
        assert re.search(r"^#0 .*loop_control_ioctl \(\)", callers_in_loop(gdb, guest), re.M)


def test_gdb_names_the_callers_without_the_kernels_debug_package(guest: Shell, tmp_path: Path) -> None:
    """Of a system call, of a vcpu that idles, of what interrupts: by the tables by which the kernel unwinds itself."""
    file = own_symbols(lambda address, size: mapped(guest, address, size), Cache(tmp_path))

    def callers(gdb: Gdb) -> list[str]:
        return re.findall(r"^#.* (?:in )?(\S+(?: handler called>| \(\)))$", gdb.do("bt"), re.M)

    with served(guest.domain, tmp_path / "gdb") as listener, Gdb(listener.place, file) as gdb:
        gdb.do("break ksys_sync")
        gdb.begin("continue")
        answer = guest.begin("sync; echo synced")
        gdb.until(r"^\*stopped")
        begun = callers(gdb)
        assert begun[0] == "ksys_sync ()" and begun[-3:-1] == ["do_syscall_64 ()", "<signal handler called>"], begun
        gdb.go("finish")
        assert callers(gdb) == begun[1:]
        gdb.do("delete")
        gdb.do("break xen_safe_halt")
        gdb.go("continue")
        idle = callers(gdb)
        assert idle[0] == "xen_safe_halt ()" and "do_idle ()" in idle
        assert idle[-1] in ("startup_xen ()", "asm_cpu_bringup_and_idle ()"), "down to where the vcpu began"
        gdb.do("delete")
        gdb.do("break hrtimer_interrupt")
        interrupting: list[str] = []
        for _ in range(20):  # who asks for events that came while it looked away calls it himself
            if "<signal handler called>" not in interrupting:
                gdb.go("continue")
                interrupting = callers(gdb)
        entry = interrupting.index("<signal handler called>")
        assert interrupting[entry - 1] == "xen_pv_evtchn_do_upcall ()" and len(interrupting) > entry + 1
        gdb.do("delete")
        gdb.do("detach")
        assert guest.finish(answer) == (0, "synced\n")


# --- without gdb


class Client:
    """One that speaks the protocol itself."""

    def __init__(self, path: object) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self._packets = Packets()
        assert self.ask(b"QStartNoAckMode") == b"OK"
        self._packets.acknowledges = False

    def close(self) -> None:
        self.socket.close()

    def hear(self) -> bytes:
        while (said := self._packets.take()[0]) is None:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._packets.feed(data)
        return said

    def ask(self, words: bytes) -> bytes:
        self.socket.sendall(packet(words))
        return self.hear()


@pytest.fixture(scope="module")
def spinning() -> Iterator[Domain]:
    with Machine(Machine.memory_for(8 * MIB)) as machine:
        domain = machine.create_domain(kernel("spin"), memory=8 * MIB)
        domain.start()
        yield domain
        assert domain.runs and domain.handle.audit() == []


def goes_on(domain: Domain) -> None:
    """It takes the processor's time again."""
    before = domain.summary["cpu_time"]
    limit = time.monotonic() + 20
    while domain.summary["cpu_time"] < before + 0.01:
        assert time.monotonic() < limit
        time.sleep(0.001)


LIES = [
    b"", b"g1", b"G", b"Gzz", b"G" + b"f" * 3000, b"p", b"pffffffffffffffffff", b"P0", b"P0=", b"P1000=00", b"P12=0000",
    b"m", b"m0", b"m,", b"m-1,4", b"m0,ffffffffffffffff", b"mffffffffffffffff,10", b"M0,4:00", b"Mffffffffffffffff,1:0",
    b"X0,4:abc", b"X0,0:", b"Z0", b"Z0,zz,1", b"Z9,0,1", b"Z2,0,ffffffff", b"Z0,-1,1", b"z0,1234,1", b"z2,0,8", b"H",
    b"Hg99", b"Hg-5", b"Hgzz", b"T0", b"Tffff", b"vCont;x", b"vCont;", b"vCont;s:99", b"vCont;c:zz", b"vFile:open:00",
    b"qXfer:features:read:../../etc/passwd:0,ff", b"qXfer:features:read:target.xml:", b"qXfer:memory:read::0,ff",
    b"qXfer:features:read:target.xml:ffffffff,ff", b"qRcmd,", b"qRcmd,zz", b"qThreadExtraInfo,ffff", b"C", b"s-1",
    b"q", b"Q", b"v", b"\x00\xff", b"qRcmd," + b"walk 0xffffffffffffffffff".hex().encode(),
    b"qRcmd," + b"walk zz".hex().encode(), b"qRcmd," + b"xenstore ../../..".hex().encode(),
    b"qRcmd," + b"walk 0 99".hex().encode(), b"qRcmd," + b"nothing".hex().encode(),
]  # fmt: skip


def test_a_client_that_lies_is_refused_and_the_next_one_is_served(spinning: Domain, tmp_path: Path) -> None:
    with served(spinning, tmp_path / "gdb") as listener:
        with closing(Client(listener.place)) as client:
            for lie in LIES:
                client.socket.sendall(packet(lie))
            registers = client.ask(b"g")
            while len(registers) < 500:
                registers = client.hear()
            assert len(bytes.fromhex(registers.decode())) > 500
        goes_on(spinning)
        draw = random.Random(11)
        words = [lie[:4] for lie in LIES if lie] + [b"vCont;s", b"vCont;c", b"c", b"s"]
        for _ in range(40):
            with closing(Client(listener.place)) as client:
                for _ in range(30):
                    said = draw.choice(words) + bytes(
                        draw.choices(b"0123456789abcdef,;:=$#}\x03", k=draw.randrange(40))
                    )
                    client.socket.sendall(packet(said) if draw.random() < 0.8 else said)
        goes_on(spinning)
        with closing(Client(listener.place)) as client:
            assert client.ask(b"?") == b"T05thread:1;"
            assert client.ask(b"D") == b"OK"
        goes_on(spinning)


def test_a_client_that_goes_at_once_or_reads_nothing_keeps_nobody_out(spinning: Domain) -> None:
    listener = listen("0", spinning.name)
    server = DebugServer(listener.socket, listener.table, lambda: spinning)
    server.start()
    address = ("127.0.0.1", int(listener.place.rpartition(":")[2]))
    try:
        for _ in range(3):
            with socket.create_connection(address) as gone:
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it is reset
        with socket.create_connection(address) as deaf:
            deaf.settimeout(LIMIT)
            with suppress(ConnectionError):
                while True:
                    deaf.sendall(packet(b"qXfer:features:read:target.xml:0,2000"))
        goes_on(spinning)
    finally:
        server.close()


def test_a_second_client_waits_and_there_are_no_more_places_than_it_was_told(spinning: Domain, tmp_path: Path) -> None:
    with served(spinning, tmp_path / "gdb") as listener:
        with closing(Client(listener.place)) as client:
            answers = [client.ask(b"Z0,%x,1" % (0x100000 + n)) for n in range(129)]
            assert answers == [b"OK"] * 128 + [b"E01"]
            assert client.ask(b"z0,100000,1") == b"OK" and client.ask(b"Z2,200000,8") == b"OK"
            client.socket.sendall(packet(b"c"))
            client.socket.sendall(b"\x03")
            assert client.hear() == b"T02thread:1;"
            second = socket.socket(socket.AF_UNIX)
            second.connect(listener.place)
            second.sendall(packet(b"?"))
            second.setblocking(False)
            with pytest.raises(BlockingIOError):
                second.recv(100)
        with second:
            second.settimeout(20)
            said = second.recv(1)
            while len(said) < 17:
                said += second.recv(100)
            assert said == b"+" + packet(b"T05thread:1;")
        goes_on(spinning)


def test_a_debugger_that_kills_ends_the_guest(tmp_path: Path) -> None:
    with Machine(Machine.memory_for(8 * MIB)) as machine:
        domain = machine.create_domain(kernel("spin"), memory=8 * MIB)
        domain.start()
        with served(domain, tmp_path / "gdb") as listener, closing(Client(listener.place)) as client:
            assert client.ask(b"vKill;1") == b"OK"
            shutdown = domain.wait(20)
            assert shutdown is not None and shutdown.reason is Reason.CRASH and "debugger" in shutdown.detail
        with served(domain, tmp_path / "gdb") as listener, socket.socket(socket.AF_UNIX) as late:
            late.connect(listener.place)
            late.settimeout(20)
            assert b"the guest has ended" in late.recv(100)


def test_a_client_is_told_when_its_guest_ends(tmp_path: Path) -> None:
    with Machine(Machine.memory_for(8 * MIB)) as machine:
        domain = machine.create_domain(kernel("shutdown_number"), memory=8 * MIB)
        domain.pause()
        domain.start()
        with served(domain, tmp_path / "gdb") as listener, closing(Client(listener.place)) as client:
            client.socket.sendall(packet(b"vCont;c"))
            domain.unpause()
            assert client.hear()[:1] == b"W"


def run_stepped(name: str, path: Path, limit: int) -> str:
    """What a tiny guest says of which so many instructions are stepped."""
    said = bytearray()
    with Machine(Machine.memory_for(16 * MIB)) as machine:
        domain = machine.create_domain(kernel(name), memory=16 * MIB, console=said.extend)
        domain.pause()
        domain.start()
        with served(domain, path) as listener, closing(Client(listener.place)) as client:
            domain.unpause()
            steps = 0
            while steps < limit:
                client.socket.sendall(packet(b"vCont;s:1"))
                if client.hear()[:1] == b"W":
                    break
                steps += 1
        domain.wait(60)
    return said.decode()


def test_a_guest_that_is_stepped_sees_nothing_of_it(tmp_path: Path) -> None:
    """Its own breakpoints, its own trap flag, its pushed flags: as on real Xen."""
    whole: Callable[[], str] = lambda: run_stepped("debug", tmp_path / "gdb", 0)  # noqa: E731
    assert run_stepped("debug", tmp_path / "gdb", 20000) == whole()
