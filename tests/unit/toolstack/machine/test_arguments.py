"""What a program gives that makes no sense: one line says so, of whatever kind the machine is, and nothing hangs."""

from __future__ import annotations

import asyncio
import inspect
import math
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import xenia
from xenia import ConfigError, GuestFault, Machine, aio
from xenia.guests import embedded
from xenia.toolstack.commands.process import CommandLost
from xenia.toolstack.config.choices import Engine
from xenia.toolstack.config.machine import MIB
from xenia.toolstack.config.values import Given, given as with_kinds, kinds_of
from xenia.toolstack.devices.device import Device
from xenia.toolstack.isolation.isolated import IsolatedDomain, IsolatedMachine
from xenia.toolstack.isolation.isolated_parts import IsolatedConsole, IsolatedMemory, IsolatedVcpu
from xenia.toolstack.machine.console import DomainConsole
from xenia.toolstack.machine.domain import Domain
from xenia.toolstack.machine.guest_memory import GuestMemory
from xenia.toolstack.machine.options import DomainOptions, MachineOptions
from xenia.toolstack.machine.sched import Sched
from xenia.toolstack.machine.vcpu import Vcpu
from xenia.toolstack.networks.network import Network, ProcessNetwork
from xenia.xenstore.error import StoreError

pytestmark = pytest.mark.skipif(embedded() is None, reason="the built-in guest is not built: no C compiler for x86-64")

SIZE = 16 * MIB
HUGE, VAST = 1 << 70, 1 << 40000
NAN = math.nan
KERNEL: Any = embedded()

Call = Callable[[Any], object]
WRONG, NOT_TO_BE_HAD = TypeError, ConfigError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A core is written to whatever file's name is drawn."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module", params=[False, True], ids=["here", "isolated"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with Machine(Machine.memory_for(4 * SIZE), isolate=request.param) as machine:
        yield machine


@pytest.fixture(scope="module")
def domain(machine: Machine) -> Domain:
    domain = machine.create_domain(KERNEL, memory=SIZE)
    domain.start()
    domain.pause()
    return domain


def refused(call: Callable[[], object], kind: type[Exception], says: str) -> None:
    """It raises that, which says so in one line."""
    with pytest.raises(kind, match=says) as raised:
        call()
    assert type(raised.value) is kind
    said = str(raised.value)
    assert said.isprintable() and len(said) < 1000, said


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"memory": -1}, NOT_TO_BE_HAD, "memory -1: it is a number of bytes, 1M to 4096T"),
        ({"memory": 0}, NOT_TO_BE_HAD, "memory 0: "),
        ({"memory": HUGE}, NOT_TO_BE_HAD, f"memory {HUGE}: "),
        ({"memory": VAST}, NOT_TO_BE_HAD, "memory a number of 40001 bits: "),
        ({"memory": "64M"}, WRONG, "memory is a number of bytes, not '64M'"),
        ({"memory": 1.5}, WRONG, "memory is a number of bytes, not 1.5"),
        ({"memory": None}, WRONG, "memory is a number of bytes, not None"),
        ({"memory": True}, WRONG, "memory is a number of bytes, not True"),
        ({"memory": []}, WRONG, "memory is a number of bytes, not a list"),
        ({"scatter": 1.5}, WRONG, "scatter is a whole number, not 1.5"),
        ({"scheduler": 3}, WRONG, "scheduler is a str, not 3"),
        ({"scheduler": "x"}, NOT_TO_BE_HAD, "there is no scheduler 'x'"),
        ({"pcpus": "x"}, WRONG, "pcpus is a whole number, not 'x'"),
        ({"engine": 3}, WRONG, "engine is a str, not 3"),
        ({"engine": "x"}, NOT_TO_BE_HAD, "no engine is called 'x'; there is: auto, emulated, native"),
        ({"xenstore_socket": 3}, WRONG, "xenstore_socket is a file's name"),
        ({"xenstore_socket": "a\0b"}, NOT_TO_BE_HAD, "xenstore_socket 'a.x00b': there is a NUL in it"),
    ],
)
@pytest.mark.parametrize("isolate", [False, True])
def test_a_machine_is_not_made_of_nonsense(
    options: dict[str, Any], kind: type[Exception], says: str, isolate: bool
) -> None:
    refused(lambda: Machine(**{"memory": 32 * MIB, "isolate": isolate, **options}), kind, says)


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"memory": -1}, NOT_TO_BE_HAD, "memory -1: it is a number of bytes"),
        ({"memory": 1}, NOT_TO_BE_HAD, "the kernel and initrd need"),
        ({"memory": 1 << 40}, NOT_TO_BE_HAD, "memory 1T: the machine has .* in all"),
        ({"memory": HUGE}, NOT_TO_BE_HAD, f"memory {HUGE}: "),
        ({"memory": 1.5}, WRONG, "memory is a number of bytes, not 1.5"),
        ({"max_memory": 1}, NOT_TO_BE_HAD, "max_memory 1K is less than the 16M"),
        ({"max_memory": "x"}, WRONG, "max_memory is a number of bytes"),
        ({"vcpus": 0}, NOT_TO_BE_HAD, "vcpus 0: a guest has 1 to 16"),
        ({"vcpus": 1.5}, WRONG, "vcpus is a whole number, not 1.5"),
        ({"vcpus": None}, WRONG, "vcpus is a whole number, not None"),
        ({"vcpus": VAST}, NOT_TO_BE_HAD, "vcpus a number of 40001 bits: "),
        ({"max_vcpus": "x"}, WRONG, "max_vcpus is a whole number"),
        ({"kernel": "/nowhere"}, NOT_TO_BE_HAD, "/nowhere: No such file"),
        ({"kernel": ""}, NOT_TO_BE_HAD, "kernel '' names no file"),
        ({"kernel": "a\0b"}, NOT_TO_BE_HAD, "kernel 'a.x00b': there is a NUL in it"),
        ({"kernel": "\ud800"}, NOT_TO_BE_HAD, "kernel '.ud800': there is half a character in it"),
        ({"kernel": b"junk"}, NOT_TO_BE_HAD, "neither a bzImage nor an ELF file|not an ELF file"),
        ({"kernel": 3}, WRONG, "kernel is a file's name, as str or os.PathLike, or its bytes, not 3"),
        ({"initrd": 3}, WRONG, "initrd is a file's name"),
        ({"initrd": "a\0b"}, NOT_TO_BE_HAD, "initrd 'a.x00b'"),
        ({"cmdline": 3}, WRONG, "cmdline is a str, not 3"),
        ({"cmdline": "a\0b"}, NOT_TO_BE_HAD, "cmdline 'a.x00b'"),
        ({"cmdline": "x" * 5000}, NOT_TO_BE_HAD, "command line is 5000 bytes long"),
        ({"name": 3}, WRONG, "name is a str, not 3"),
        ({"name": ""}, NOT_TO_BE_HAD, "name '': use 1 to 64 letters"),
        ({"name": "x/y"}, NOT_TO_BE_HAD, "name 'x/y': use 1 to 64 letters"),
        ({"clock": "x"}, NOT_TO_BE_HAD, "clock 'x': there are 'real' and 'warped'"),
        ({"console": -1}, NOT_TO_BE_HAD, "console -1: no file is open there"),
        ({"console": 99999}, NOT_TO_BE_HAD, "console 99999: no file is open there"),
        ({"console": VAST}, NOT_TO_BE_HAD, "console a number of 40001 bits: no file is open there"),
        ({"console": "x"}, WRONG, "console is a file descriptor, or a function that takes bytes, not 'x'"),
        ({"console": 1.5}, WRONG, "console is a file descriptor"),
        ({"engine": "x"}, NOT_TO_BE_HAD, "no engine is called 'x'"),
    ],
)
def test_a_domain_is_not_made_of_nonsense(
    machine: Machine, options: dict[str, Any], kind: type[Exception], says: str
) -> None:
    refused(lambda: machine.create_domain(**{"kernel": KERNEL, "memory": SIZE, **options}), kind, says)


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        # --- how long something may take
        (lambda it: it.wait_for("zzz", NAN), NOT_TO_BE_HAD, "timeout nan: it is a number of seconds up to 2147483"),
        (lambda it: it.wait_for("zzz", math.inf), NOT_TO_BE_HAD, "timeout inf: "),
        (lambda it: it.wait_for(lambda: 0, HUGE), NOT_TO_BE_HAD, f"timeout {HUGE}: "),
        (lambda it: it.wait_for("zzz", "x"), WRONG, "timeout is a number of seconds, or None, not 'x'"),
        (lambda it: it.wait(NAN), NOT_TO_BE_HAD, "timeout nan"),
        (lambda it: it.wait(VAST), NOT_TO_BE_HAD, "timeout a number of 40001 bits"),
        (lambda it: it.wait("x"), WRONG, "timeout is a number of seconds"),
        (lambda it: it.console.expect("zzz", NAN), NOT_TO_BE_HAD, "timeout nan"),
        (lambda it: it.console.expect("zzz", math.inf), NOT_TO_BE_HAD, "timeout inf"),
        (lambda it: it.freeze(NAN), NOT_TO_BE_HAD, "timeout nan"),
        (lambda it: it.freeze(None), WRONG, "timeout is a number of seconds, not None"),
        (lambda it: it.run(["true"], timeout=math.inf), NOT_TO_BE_HAD, "timeout inf"),
        # --- what is looked for
        (lambda it: it.wait_for(3), WRONG, "what is a regular expression, as str, bytes or compiled, not 3"),
        (lambda it: it.wait_for("("), NOT_TO_BE_HAD, "what '.': no regular expression: missing"),
        (lambda it: it.console.expect(None), WRONG, "pattern is a regular expression"),
        (lambda it: it.console.expect(b"("), NOT_TO_BE_HAD, "pattern b'.': no regular expression"),
        (lambda it: it.console.expect("a{99999999999999}"), NOT_TO_BE_HAD, "no regular expression"),
        # --- the console
        (lambda it: it.console.send(3), WRONG, "data is bytes, not 3"),
        (lambda it: it.console.send("x"), WRONG, "data is bytes, not 'x'"),
        (lambda it: it.console.offer(None), WRONG, "data is bytes, not None"),
        (lambda it: it.console.sendline(3), WRONG, "line is a str, not 3"),
        (lambda it: it.console.sendline("\ud800"), NOT_TO_BE_HAD, "half a character"),
        # --- memory
        (lambda it: it.memory.read(-1, 1), NOT_TO_BE_HAD, "an address has 64 bits: there are no 1 bytes at -0x1"),
        (lambda it: it.memory.read(0, -1), NOT_TO_BE_HAD, "there are no -1 bytes at 0x0"),
        (lambda it: it.memory.read(VAST, VAST), NOT_TO_BE_HAD, "an address has 64 bits: there are no a number of"),
        (lambda it: it.memory.read(0, 1 << 62), GuestFault, "guest address 0x0: read fault"),
        (lambda it: it.memory.read(0, 1 << 62, physical=True), GuestFault, "guest address 0x1000000: read fault"),
        (lambda it: it.memory.read("x", 1), WRONG, "address is a whole number, not 'x'"),
        (lambda it: it.memory.read(1.5, 1), WRONG, "address is a whole number, not 1.5"),
        (lambda it: it.memory.read(0, 1.5), WRONG, "size is a whole number, not 1.5"),
        (lambda it: it.memory.read(0, 1, vcpu=7), NOT_TO_BE_HAD, "vcpus 0 to 0, and no vcpu 7"),
        (lambda it: it.memory.read(0, 1, vcpu=0.0), WRONG, "vcpu is a whole number, not 0.0"),
        (lambda it: it.memory.read(0, 1, vcpu=VAST), NOT_TO_BE_HAD, "vcpu a number of 40001 bits"),
        (lambda it: it.memory.write(0, "x"), WRONG, "data is bytes, not 'x'"),
        (lambda it: it.memory.write(0, 3), WRONG, "data is bytes, not 3"),
        (lambda it: it.memory.write(1.5, b"x"), WRONG, "address is a whole number, not 1.5"),
        (lambda it: it.memory.translate(1.5), WRONG, "address is a whole number"),
        (lambda it: it.memory.translate(HUGE), NOT_TO_BE_HAD, "an address has 64 bits"),
        # --- vcpus
        (lambda it: it.set_vcpus("x"), WRONG, "vcpus is a whole number"),
        (lambda it: it.set_vcpus(1.5), WRONG, "vcpus is a whole number"),
        (lambda it: it.set_vcpus(9), NOT_TO_BE_HAD, "can have 1 to 1 vcpus, not 9"),
        (lambda it: it.send_nmi(None), WRONG, "vcpu is a whole number"),
        (lambda it: it.send_nmi(HUGE), NOT_TO_BE_HAD, "vcpu "),
        (lambda it: it.vcpus[0].set_registers(3), WRONG, "values is names and their numbers"),
        (lambda it: it.vcpus[0].set_registers({1: 1}), WRONG, "a name in values is a str, not 1"),
        (lambda it: it.vcpus[0].set_registers({"rax": 1.5}), WRONG, r"values\['rax'\] is a whole number, not 1.5"),
        (lambda it: it.vcpus[0].set_registers({"rax": -1}), NOT_TO_BE_HAD, "register rax has 64 bits"),
        (lambda it: it.vcpus[0].set_fpu("x"), WRONG, "area is bytes, not 'x'"),
        (lambda it: it.vcpus[0].set_fpu(b""), NOT_TO_BE_HAD, "has 512 bytes"),
        # --- its memory, its name
        (lambda it: it.set_memory("x"), WRONG, "size is a number of bytes"),
        (lambda it: it.set_memory(1.5), WRONG, "size is a number of bytes"),
        (lambda it: it.set_memory(-1), NOT_TO_BE_HAD, "size -1: "),
        (lambda it: it.set_max_memory(HUGE), NOT_TO_BE_HAD, "size "),
        (lambda it: it.rename(3), WRONG, "name is a str, not 3"),
        (lambda it: it.rename("a\0b"), NOT_TO_BE_HAD, "name 'a.x00b'"),
        (lambda it: it.rename("x" * 5000), NOT_TO_BE_HAD, "use 1 to 64 letters"),
        (lambda it: it.dump_core(3), WRONG, "path is a file's name"),
        (lambda it: it.dump_core("a\0b"), NOT_TO_BE_HAD, "path 'a.x00b'"),
        (lambda it: it.dump_core("/nowhere/x"), NOT_TO_BE_HAD, "/nowhere/x: No such file"),
        (lambda it: it.dump_core("x", form="zzz"), NOT_TO_BE_HAD, "form 'zzz': there are 'xen' and 'elf'"),
        # --- devices
        (lambda it: it.attach(3), WRONG, "config is what describes a device, .* not 3"),
        (lambda it: it.attach_disk(3), WRONG, "layer is a str, not 3"),
        (lambda it: it.attach_disk("a\0b"), NOT_TO_BE_HAD, "layer 'a.x00b'"),
        (lambda it: it.attach_disk("memory:4096", name=3), WRONG, "name is a str, not 3"),
        (lambda it: it.attach_disk("memory:4096", sector_size="x"), WRONG, "sector_size is a whole number"),
        (lambda it: it.attach_disk("memory:4096", sector_size=3), NOT_TO_BE_HAD, "a sector has 512 or 4096 bytes"),
        (lambda it: it.attach_vif(3), WRONG, "network is words of a network, or one of this machine, not 3"),
        (lambda it: it.attach_vif("null", mac=3), WRONG, "mac is a str, not 3"),
        (lambda it: it.attach_vif("null", mtu="x"), WRONG, "mtu is a whole number"),
        (lambda it: it.attach_vif("null", layers=3.5), WRONG, "layers is a str, or several, not 3.5"),
        (lambda it: it.attach_disk_of(3, "x"), WRONG, "driver is a domain, not 3"),
        (lambda it: it.attach_disk_of(it, "x"), NOT_TO_BE_HAD, "serves no disks"),
        (lambda it: it.attach_vif_of(it, number=VAST), NOT_TO_BE_HAD, "number a number of 40001 bits"),
        # --- commands
        (lambda it: it.run([]), NOT_TO_BE_HAD, "there is no command"),
        (lambda it: it.run(3), WRONG, "args is a list of a command and its arguments, or a str for a shell, not 3"),
        (lambda it: it.run([3]), WRONG, "a word of args is a str, bytes or os.PathLike, not 3"),
        (lambda it: it.run(["a\0b"]), NOT_TO_BE_HAD, "args 'a.x00b': there is a NUL in it"),
        (lambda it: it.run([b"a\0b"]), NOT_TO_BE_HAD, "args b'a.x00b': there is a NUL in it"),
        (lambda it: it.run(["true"], input=3), WRONG, "input is bytes, not 3"),
        (lambda it: it.run(["true"], env=3), WRONG, "env is names of variables"),
        (lambda it: it.run(["true"], env={"A": 3}), WRONG, r"env\['A'\] is a str, not 3"),
        (lambda it: it.run(["true"], cwd=3), WRONG, "cwd is a str, not 3"),
        (lambda it: it.run(["true"], user="a\0b"), NOT_TO_BE_HAD, "user 'a.x00b'"),
        (lambda it: it.run(["true"], encoding="zzz"), NOT_TO_BE_HAD, "encoding 'zzz': Python has no text encoding"),
        (lambda it: it.run(["true"], errors="zzz"), NOT_TO_BE_HAD, "errors 'zzz': Python has no error handler"),
        (lambda it: it.copy_in(3.5, "/x"), WRONG, "sources is a file's name, or several, not 3.5"),
        (lambda it: it.copy_in([], "/x"), NOT_TO_BE_HAD, "there is nothing to copy"),
        (lambda it: it.copy_in(["a\0b"], "/x"), NOT_TO_BE_HAD, "sources 'a.x00b'"),
        (lambda it: it.copy_in("/etc/passwd", 3), WRONG, "path is a str, not 3"),
        (lambda it: it.copy_out(3, "/tmp"), WRONG, "path is a str, not 3"),
        (lambda it: it.copy_out("/x", 3), WRONG, "target is a file's name"),
    ],
)
def test_a_domain_is_not_asked_for_nonsense(domain: Domain, call: Call, kind: type[Exception], says: str) -> None:
    refused(lambda: call(domain), kind, says)


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (lambda it: it.create_network(3), WRONG, "name is a str, not 3"),
        (lambda it: it.create_network(subnet=3), WRONG, "subnet is a str, not 3"),
        (lambda it: it.create_network(hosts=3.5), WRONG, "hosts is whole numbers, not 3.5"),
        (lambda it: it.create_network(hosts=["x"]), WRONG, "hosts is a whole number, not 'x'"),
        (lambda it: it.rebuild(3), WRONG, "frozen is what Domain.freeze answers, not 3"),
        (lambda it: it.memory_for("a"), WRONG, "guests is a number of bytes, not 'a'"),
        (lambda it: it.memory_for(-1), NOT_TO_BE_HAD, "guests -1: "),
    ],
)
def test_a_machine_is_not_asked_for_nonsense(machine: Machine, call: Call, kind: type[Exception], says: str) -> None:
    refused(lambda: call(machine), kind, says)


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (lambda it: it.on_hypercall(3), WRONG, "callback is a function, not 3"),
        (lambda it: it.on_hypercall(print, 3), WRONG, "names is a str, not 3"),
        (lambda it: it.on_hypercall(print, "x"), NOT_TO_BE_HAD, "there is no hypercall 'x'"),
        (lambda it: it.on_event(print, HUGE), NOT_TO_BE_HAD, "ports "),
        (lambda it: it.on_page_table_update(print, 9), NOT_TO_BE_HAD, "levels 1 to 4"),
        (lambda it: it.set_window_size(-1, 1), NOT_TO_BE_HAD, "rows -1: it is a whole number from 0 to 65535"),
        (lambda it: it.xenstore.read(3), WRONG, "the store's paths and values are str, not int"),
        (lambda it: it.xenstore.write("/a\0b", "c"), StoreError, "EINVAL"),
    ],
)
def test_what_only_a_domain_of_this_process_has_is_told_apart_from_nonsense(
    domain: Domain, call: Call, kind: type[Exception], says: str
) -> None:
    if not isinstance(domain, IsolatedDomain):
        refused(lambda: call(domain), kind, says)
    elif "is a" not in says and "rows" not in says:
        with pytest.raises(ConfigError):
            call(domain)


@pytest.mark.parametrize("run", [xenia.run, lambda *a, **k: asyncio.run(aio.run(*a, **k))], ids=["run", "aio"])
@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"args": 3}, WRONG, "args is a list of a command"),
        ({"args": []}, NOT_TO_BE_HAD, "there is no command"),
        ({"args": ["a\0b"]}, NOT_TO_BE_HAD, "args 'a.x00b'"),
        ({"timeout": NAN}, NOT_TO_BE_HAD, "timeout nan"),
        ({"timeout": HUGE}, NOT_TO_BE_HAD, "timeout "),
        ({"timeout": "x"}, WRONG, "timeout is a number of seconds"),
        ({"input": 3}, WRONG, "input is bytes, not 3"),
        ({"encoding": "zzz"}, NOT_TO_BE_HAD, "encoding 'zzz'"),
        ({"env": {"A": "b\0"}}, NOT_TO_BE_HAD, "NUL"),
        ({"kernel": "a\0b"}, NOT_TO_BE_HAD, "kernel 'a.x00b'"),
    ],
)
def test_no_guest_is_booted_for_nonsense(
    run: Any, options: dict[str, Any], kind: type[Exception], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    refused(lambda: run(**{"args": ["true"], **options}), kind, says)


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"stdin": "x"}, WRONG, "stdin is a file that is open, or one of subprocess's words, not 'x'"),
        ({"stdout": 99999}, NOT_TO_BE_HAD, "stdout 99999: no file is open there"),
    ],
)
def test_a_command_s_streams_are_open_files(options: dict[str, Any], kind: type[Exception], says: str) -> None:
    refused(lambda: xenia.run(["true"], **options), kind, says)


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"console": "x"}, WRONG, "console is a file descriptor"),
        ({"console": -1}, NOT_TO_BE_HAD, "console -1: no file is open there"),
        ({"machine": 3}, WRONG, "machine is a Machine, not 3"),
        ({"kernel": 3}, WRONG, "kernel is a file's name"),
        ({"memory": []}, WRONG, "memory is a number of bytes, not a list"),
        ({"nonsense": 1}, WRONG, "a guest has no option 'nonsense'"),
    ],
)
def test_no_guest_is_booted_here_for_nonsense(options: dict[str, Any], kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        Machine.boot(**{"kernel": "demo", "memory": "16M", "net": "none", **options})


@pytest.fixture(scope="module")
def shared() -> Iterator[Domain]:
    """A domain that shares two pcpus."""
    with Machine(Machine.memory_for(SIZE), scheduler="credit2", pcpus=2) as machine:
        yield machine.create_domain(KERNEL, memory=SIZE)


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (lambda it: it.pin("x"), WRONG, "vcpu is a whole number, not 'x'"),
        (lambda it: it.pin(NAN, {0}), WRONG, "vcpu is a whole number, not nan"),
        (lambda it: it.pin(None, {0}), WRONG, "vcpu is a whole number, not None"),
        (lambda it: it.pin(1, {0}), NOT_TO_BE_HAD, "vcpus 0 to 0, and no vcpu 1"),
        (lambda it: it.pin(HUGE, {0}), NOT_TO_BE_HAD, f"vcpu {HUGE}: "),
        (lambda it: it.pin(0, "x"), WRONG, "hard is a whole number, not 'x'"),
        (lambda it: it.pin(0, 1.5), WRONG, "hard is whole numbers, not 1.5"),
        (lambda it: it.pin(0, {NAN}), WRONG, "hard is a whole number, not nan"),
        (lambda it: it.pin(0, {VAST}), NOT_TO_BE_HAD, "hard a number of 40001 bits: "),
        (lambda it: it.pin(0, [None]), WRONG, "hard is a whole number, not None"),
        (lambda it: it.pin(0, [[0]]), WRONG, "hard is a whole number, not a list"),
        (lambda it: it.pin(0, ()), NOT_TO_BE_HAD, "pcpus 0 to 1, and none of those"),
        (lambda it: it.pin(0, {0}, {-1, 2}), NOT_TO_BE_HAD, "pcpus 0 to 1, and none of those"),
        (lambda it: it.pin(0, None, b"0"), WRONG, "soft is whole numbers, not b'0'"),
        (lambda it: setattr(it, "weight", NAN), WRONG, "weight is a whole number, not nan"),
        (lambda it: setattr(it, "weight", "256"), WRONG, "weight is a whole number, not '256'"),
        (lambda it: setattr(it, "weight", None), WRONG, "weight is a whole number, not None"),
        (lambda it: setattr(it, "weight", True), WRONG, "weight is a whole number, not True"),
        (lambda it: setattr(it, "weight", 0), NOT_TO_BE_HAD, "a weight is a number from 1 to 65535, not 0"),
        (lambda it: setattr(it, "weight", HUGE), NOT_TO_BE_HAD, f"weight {HUGE}: "),
        (lambda it: setattr(it, "weight", VAST), NOT_TO_BE_HAD, "weight a number of 40001 bits: "),
        (lambda it: setattr(it, "cap", NAN), WRONG, "cap is a whole number, not nan"),
        (lambda it: setattr(it, "cap", "x"), WRONG, "cap is a whole number, not 'x'"),
        (lambda it: setattr(it, "cap", None), WRONG, "cap is a whole number, not None"),
        (lambda it: setattr(it, "cap", -1), NOT_TO_BE_HAD, "a cap is a number from 0 .* of 1 vcpus, not -1"),
        (lambda it: setattr(it, "cap", HUGE), NOT_TO_BE_HAD, f"cap {HUGE}: "),
    ],
)
def test_a_domain_is_not_scheduled_by_nonsense(shared: Domain, call: Call, kind: type[Exception], says: str) -> None:
    before = shared.sched.vcpus, shared.sched.weight, shared.sched.cap
    refused(lambda: call(shared.sched), kind, says)
    assert (shared.sched.vcpus, shared.sched.weight, shared.sched.cap) == before


# --- whatever it is

# What means something to whoever asks, besides the two errors.
_ANSWERS = (GuestFault, TimeoutError, subprocess.TimeoutExpired, StoreError, EOFError, CommandLost)
_FREE = {"behind", "keep_layers", "crash", "descriptor", "streams", "files", "console", "machine", "options", "card"}
_MADE_HERE = {
    "attach", "start_command", "starter", "write_core", "introduce", "resume", "resume_device", "foreign_to", "driver",
    "serve", "destroy", "boot", "begin", "suspend", "close", "emergency", "is_called", "remove", "ask",
    "booting", "expect_late_suspend", "pause_console",
}  # fmt: skip
CLASSES = (
    Machine, IsolatedMachine, Domain, IsolatedDomain, GuestMemory, IsolatedMemory, Vcpu, IsolatedVcpu, DomainConsole,
    IsolatedConsole, Sched,
)  # fmt: skip


def methods(of: type) -> Iterator[tuple[str, Any]]:
    for name, method in inspect.getmembers(of, inspect.isfunction):
        if not name.startswith("_") and name not in _MADE_HERE:
            yield name, method


@pytest.mark.parametrize("of", CLASSES, ids=lambda of: of.__name__)
def test_every_argument_of_what_is_public_is_looked_at(of: type) -> None:
    for name, method in methods(of):
        taken = set(inspect.signature(method).parameters) - {"self"} - _FREE
        if name == "create_domain":
            continue  # by its options
        if issubclass(of, GuestMemory):
            taken -= {"address", "size", "physical"}  # of which one is nothing without the other
        if name == "rebuild":
            taken -= {"frozen"}
        assert taken <= kinds_of(method).keys(), f"{of.__name__}.{name}"


@pytest.mark.parametrize("of", [Network, ProcessNetwork], ids=lambda of: of.__name__)
def test_a_network_forwards_to_what_is_said_in_words(of: Any) -> None:
    refused(lambda: of.forward(None, 8080), WRONG, "words is a str, not 8080")
    refused(lambda: of.forward(None, "8080:80", to=3), WRONG, "to is a str, not 3")
    refused(lambda: of.forward(None, "8080\0:80"), NOT_TO_BE_HAD, "there is a NUL in it")


def test_a_method_looks_at_its_arguments_as_the_one_does_in_whose_place_it_stands() -> None:
    class First(Given):
        @with_kinds(count=lambda name, value: value * 2)
        def twice(self, count: int) -> int:
            return count

    class Second(First):
        def twice(self, count: int) -> int:
            return -count

    assert (First().twice(2), Second().twice(2), Second().twice(count=3)) == (4, -4, -6)


numbers = st.one_of(
    st.integers(), st.sampled_from([0, 1, -1, 1 << 31, 1 << 32, 1 << 62, 1 << 63, 1 << 64, HUGE, 1 << 13000]),
    st.floats(), st.booleans(),
)  # fmt: skip
nonsense = st.recursive(
    st.one_of(
        st.none(), numbers, st.text(max_size=8), st.binary(max_size=8), st.just("a\0b"), st.just("\ud800"),
        st.just("x" * 5000), st.just(object()), st.just(len), st.just(Path("/nowhere/x")), st.just(Path("")),
        st.complex_numbers(), st.sampled_from(get_args(Engine)),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=3,
)  # fmt: skip


def makes_sense(call: Callable[[], object]) -> None:
    """It answers, or says in one line what is wrong, and blames nobody else."""
    try:
        call()
    except (ConfigError, TypeError) as error:
        said = str(error)
        assert said and "\n" not in said and len(said) < 20000, said
        inner = re.search(r"has no attribute|not supported between|must be real number|cannot be interpreted", said)
        assert inner is None, said
    except _ANSWERS:
        pass


# What waits for a guest that says nothing, and what it does with good arguments for as long as it is told.
_PATIENT = {"wait", "wait_for", "expect", "freeze", "run", "copy_in", "copy_out"}
_WHERE: dict[str, Callable[[Any], Any]] = {
    **{name: lambda it: it for name, _ in methods(Domain)},
    **{name: lambda it: it.memory for name, _ in methods(GuestMemory)},
    **{name: lambda it: it.vcpus[0] for name, _ in methods(Vcpu)},
    **{name: lambda it: it.console for name in ("send", "offer", "sendline", "expect")},
}
_PROBED = sorted(_WHERE.keys() - {"pause", "unpause", "start", "crash"})


@pytest.mark.parametrize("name", _PROBED)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_domain_is_asked_for_is_answered(domain: Domain, name: str, data: st.DataObject) -> None:
    method = getattr(_WHERE[name](domain), name)
    parameters = inspect.signature(method).parameters
    arguments: dict[str, Any] = {}
    given_in_place: list[Any] = []
    for parameter in parameters.values():
        match parameter.kind:
            case inspect.Parameter.VAR_POSITIONAL:
                given_in_place += data.draw(st.lists(nonsense, max_size=2)) if parameter.name else []
            case inspect.Parameter.VAR_KEYWORD:
                pass
            case _ if parameter.name == "timeout":
                arguments["timeout"] = data.draw(st.one_of(st.sampled_from([0, -1, 0.01, NAN, math.inf]), nonsense))
            case _ if parameter.default is inspect.Parameter.empty or data.draw(st.booleans()):
                arguments[parameter.name] = data.draw(nonsense)
    if name in _PATIENT:
        timeout = arguments.get("timeout", 0)
        if timeout is None or (isinstance(timeout, int | float) and timeout > 0.01):
            arguments["timeout"] = 0 if "timeout" in parameters else None
        if name.startswith("copy"):
            return  # which has no end where nobody answers: by the table
    if given_in_place:
        first = [arguments.pop(next(iter(parameters)))]
        makes_sense(lambda: method(*first, *given_in_place, **arguments))
    else:
        makes_sense(lambda: method(**arguments))
    domain.pause()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_a_machine_or_domain_is_to_be_made_of_is_answered(data: st.DataObject) -> None:
    for options in (MachineOptions, DomainOptions):
        names = list(inspect.signature(options).parameters)
        given = {name: data.draw(nonsense) for name in data.draw(st.sets(st.sampled_from(names)))}
        given.setdefault(names[0], data.draw(nonsense))
        makes_sense(lambda given=given, options=options: options(**given))  # type: ignore[misc]


@pytest.mark.parametrize("of", [one for one in Device.__subclasses__()], ids=lambda of: of.__name__)
def test_devices_wait_for_seconds_only(of: type[Device]) -> None:
    refused(lambda: of.unplug(None, NAN), NOT_TO_BE_HAD, "timeout nan")  # type: ignore[arg-type]
    refused(lambda: of.unplug(None, "x"), WRONG, "timeout is a number of seconds")  # type: ignore[arg-type]
