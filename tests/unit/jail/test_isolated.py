"""A machine in a process of its own: the same verbs, behind walls that the program itself does not have."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from xenia import ConfigError, HypervisorBug, Machine, Reason
from xenia.guests import embedded
from xenia.jail.jail import walls_of_host
from xenia.storage.file import create_file, open_file
from xenia.toolstack.config.disk import parse_disk
from xenia.toolstack.config.machine import MIB, MachineConfig
from xenia.toolstack.guest.build import Build
from xenia.toolstack.guest.guest import Guest
from xenia.toolstack.guest.state import State
from xenia.toolstack.guest.verbs import AttachDevice, Destroy, DetachDevice, Dmesg, Start, Statistics, Wait
from xenia.toolstack.isolation.isolated import IsolatedMachine
from xenia.toolstack.machine.domain import Domain
from xenia.toolstack.provision.boot import Boot

pytestmark = pytest.mark.skipif(embedded() is None, reason="the built-in guest is not built: no C compiler for x86-64")

SIZE = 16 * MIB


class Output:
    """What a guest writes, and when its prompt is there."""

    def __init__(self) -> None:
        self.text = b""
        self._changed = threading.Condition()

    def __call__(self, data: bytes) -> None:
        with self._changed:
            self.text += data
            self._changed.notify_all()

    def expect(self, text: bytes) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.text, 60), self.text


@pytest.fixture
def machine() -> Iterator[IsolatedMachine]:
    with Machine(Machine.memory_for(SIZE, SIZE), isolate=True) as machine:
        assert isinstance(machine, IsolatedMachine)
        yield machine


@pytest.fixture
def output() -> Output:
    return Output()


@pytest.fixture
def domain(machine: IsolatedMachine, output: Output) -> Domain:
    image = embedded()
    assert image is not None
    return machine.create_domain(image, memory=SIZE, console=output, name="inside")


def test_its_domains_have_the_machines_engine_and_no_other(machine: IsolatedMachine) -> None:
    image = embedded()
    assert image is not None
    machine.create_domain(image, memory=SIZE, engine="auto")
    with pytest.raises(ConfigError, match="one engine for all of its domains"):
        machine.create_domain(image, memory=SIZE, engine="native")


def test_its_life_is_looked_at_and_changed_from_here(domain: Domain, output: Output) -> None:
    assert domain.summary["paused"]  # for it has not begun
    domain.start()
    output.expect(b"> ")
    domain.pause()
    domain.rename("other")
    found = domain.summary
    assert (found["name"], found["paused"], found["running"], found["vcpus"]) == ("other", True, False, 1)
    domain.console.send(b"uptime\r")
    domain.unpause()
    output.expect(b"uptime")
    assert not domain.summary["paused"]
    with pytest.raises(ConfigError, match="it has no vcpu 7"):
        domain.send_nmi(7)


def test_a_guest_runs_in_the_other_process_and_is_talked_to(domain: Domain, output: Output) -> None:
    domain.start()
    output.expect(b"> ")
    domain.console.send(b"halt\r")
    shutdown = domain.wait(60)
    assert shutdown is not None and shutdown.reason is Reason.POWEROFF
    assert domain.shutdown == shutdown
    assert domain.domid == 1
    statistics = domain.statistics
    assert statistics["name"] == "inside" and statistics["hypercalls"]


def test_a_guest_that_is_destroyed_gives_its_memory_back(machine: IsolatedMachine, domain: Domain) -> None:
    before = machine.free_memory
    domain.start()
    assert domain.wait(0) is None
    domain.destroy()
    domain.destroy()
    assert machine.free_memory >= before + SIZE


def test_the_console_may_be_a_descriptor(machine: IsolatedMachine) -> None:
    image = embedded()
    assert image is not None
    read_fd, write_fd = os.pipe()
    domain = machine.create_domain(image.read_bytes(), memory=SIZE, console=write_fd)
    os.close(write_fd)
    domain.start()
    with open(read_fd, "rb", buffering=0) as pipe:
        shown = b""
        while b"> " not in shown:
            shown += pipe.read(4096)


def test_a_disk_is_opened_here_and_used_there(domain: Domain, tmp_path: Path) -> None:
    create_file(tmp_path / "disk.img", MIB).close()
    disk = domain.attach_disk(f"{tmp_path}/disk.img,cow")
    assert disk.name == "xvda"
    assert [layer["layer"] for layer in domain.statistics["disks"][0]["layers"]] == ["cow", "file", "file"]
    with pytest.raises(ConfigError, match="is in use"):
        open_file(tmp_path / "disk.img")
    disk.remove()
    open_file(tmp_path / "disk.img").close()


def test_what_the_other_process_refuses_is_refused_here(machine: IsolatedMachine, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a kernel image"):
        machine.create_domain(b"hello" * 1000, memory=SIZE)
    with pytest.raises(ConfigError, match="No such file"):
        machine.create_domain(tmp_path / "vmlinuz", memory=SIZE)
    with pytest.raises(ConfigError, match="memory"):
        Machine(1 << 50, isolate=True)


@pytest.mark.skipif(walls_of_host().filters is None, reason="this host filters no system calls")
def test_the_other_process_is_walled_in_and_this_one_is_not(machine: IsolatedMachine) -> None:
    def status(pid: int | str) -> dict[str, str]:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return dict(line.split(":\t", 1) for line in lines if ":\t" in line)

    there, here = status(machine._remote.process.pid), status("self")
    assert (there["Seccomp"], there["NoNewPrivs"], int(there["CapEff"], 16)) == ("2", "1", 0)
    assert int(there["Seccomp_filters"]) == int(here["Seccomp_filters"]) + 1
    assert here["NoNewPrivs"] == "0" or here["Seccomp"] != "0"  # whatever it was, it was not us


def test_the_end_of_the_other_process_is_told_to_whoever_waits(machine: IsolatedMachine, domain: Domain) -> None:
    domain.start()
    failures: list[str] = []

    def wait() -> None:
        try:
            domain.wait()
        except HypervisorBug as failure:
            failures.append(str(failure))

    waiting = threading.Thread(target=wait)
    waiting.start()
    machine._remote.process.send_signal(signal.SIGKILL)
    waiting.join(30)
    assert failures == ["the machine's process has ended with status -9"]
    with pytest.raises(HypervisorBug, match="has ended"):
        domain.start()


def test_its_store_is_reachable_and_goes_with_it(tmp_path: Path) -> None:
    with Machine(Machine.memory_for(SIZE), isolate=True, xenstore_socket=tmp_path / "store"):
        assert (tmp_path / "store").is_socket()
    assert not (tmp_path / "store").exists()


def test_isolation_without_the_jail_is_refused() -> None:
    with pytest.raises(ConfigError, match="isolate=True goes with jail"):
        Machine(Machine.memory_for(SIZE), isolate=True, jail=False)


def test_a_guest_with_its_verbs_may_live_in_the_other_process(
    machine: IsolatedMachine, output: Output, tmp_path: Path
) -> None:
    image = embedded()
    assert image is not None
    create_file(tmp_path / "disk.img", MIB).close()
    config = MachineConfig(memory=SIZE, disks=(parse_disk(f"{tmp_path}/disk.img,ro"),))
    guest = Guest(config, machine)
    guest.do(Build(Boot(image.read_bytes(), b"", ""), output))
    assert guest.do(AttachDevice(parse_disk("memory:2M"))) == "xvdb"
    assert guest.do(AttachDevice(parse_disk("memory:4M"))) == "xvdc"
    guest.do(DetachDevice("disk", "xvdc", 60))
    guest.do(Start())
    output.expect(b"> ")
    assert [(disk["name"], disk["size"]) for disk in guest.do(Statistics())["disks"]] == [
        ("xvda", MIB),
        ("xvdb", 2 * MIB),
    ]
    assert guest.do(Wait(0)) is None and guest.state.value == "running"
    guest.require_domain().console.send(b"halt\r")
    ended = guest.do(Wait(60))
    assert ended is not None and ended.reason is Reason.POWEROFF and guest.state is State.SHUTDOWN
    assert any("ended with poweroff" in line for line in guest.do(Dmesg())["lines"])
    guest.do(Destroy())
    assert machine.domains == []
    open_file(tmp_path / "disk.img").close()


def test_a_network_card_is_opened_here_and_used_there(machine: IsolatedMachine, domain: Domain, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "wire"))
        listener.listen()
        domain.attach_vif(f"socket={tmp_path}/wire", mtu=9000)
        other, _ = listener.accept()
    with other:
        card = domain.attach_vif("null", mac="00:16:3E:00:00:01")
        cards = domain.statistics["cards"]
        assert [(one["name"], one["link"]) for one in cards] == [("vif0", f"socket={tmp_path}/wire"), ("vif1", "null")]
        assert cards[1]["mac"] == "00:16:3e:00:00:01" and cards[0]["carrier"]
        with pytest.raises(ConfigError, match="there is a network card with the MAC 00:16:3e:00:00:01 already"):
            domain.attach_vif("null", mac="00:16:3e:00:00:01")
        card.remove()
        assert [one["name"] for one in domain.statistics["cards"]] == ["vif0"]
        machine.close()
        assert other.recv(1) == b""


def test_networks_of_a_machine_in_another_process_are_processes_too(machine: IsolatedMachine, domain: Domain) -> None:
    network = machine.create_network("lan", nat=False)
    domain.attach_vif(network)  # type: ignore[arg-type]  # as this kind of machine makes them
    [card] = domain.statistics["cards"]
    assert [(port["name"], port["mac"]) for port in network.show()["ports"]] == [("inside", card["mac"])]
    network.close()
    assert any(not domain.statistics["cards"][0]["carrier"] for _ in range(1000))
