"""Filters, asked as the kernel asks them: what becomes of this call with these arguments on this processor?"""

from __future__ import annotations

import os
import socket
import stat
import struct

import pytest

from xenia.jail.calls import PROCESSORS, HostProcessor
from xenia.jail.filter import ALLOW, ENOSYS, EPERM, KILL_PROCESS, TRAP, Filter, When, refusal
from xenia.jail.kinds import PROBE, PROBE_ANSWER, Kind, network, process, server

MMAP_CODE = 4  # PROT_EXEC
CLONE_THREAD, CLONE_NEWUSER = 0x10000, 0x10000000


def ask(program: bytes, audit: int, number: int, *arguments: int) -> int:
    """Run the program over one call."""
    data = struct.pack("=IIQ6Q", number, audit, 0, *arguments, *[0] * (6 - len(arguments)))
    code: list[tuple[int, int, int, int]] = list(struct.iter_unpack("=HBBI", program))
    at, accumulator = 0, 0
    while True:
        operation, if_true, if_false, operand = code[at]
        at += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, operand)
            case 0x54:
                accumulator &= operand
            case 0x15:
                at += if_true if accumulator == operand else if_false
            case 0x35:
                at += if_true if accumulator >= operand else if_false
            case 0x06:
                return operand
            case _:
                raise AssertionError(f"no such instruction: {operation:#x}")


class Asked:
    """A filter on one processor."""

    def __init__(self, filter_: Filter, processor: HostProcessor) -> None:
        self.program, self.processor = filter_.program(processor), processor

    def __call__(self, name: str, *arguments: int) -> int:
        return ask(self.program, self.processor.audit, self.processor.numbers[name], *arguments)


@pytest.fixture(params=sorted(PROCESSORS))
def processor(request: pytest.FixtureRequest) -> HostProcessor:
    return PROCESSORS[request.param]


def test_a_call_is_allowed_answered_or_something_else(processor: HostProcessor) -> None:
    asked = Asked(Filter({"read": None}, {"openat": EPERM}, ENOSYS), processor)
    assert [asked(name) for name in ("read", "openat", "write")] == [ALLOW, EPERM, ENOSYS]


def test_a_condition_looks_at_masked_bits_of_an_argument(processor: HostProcessor) -> None:
    condition = When(1, (2, 3), mask=0xF)
    asked = Asked(Filter({"ioctl": condition, "read": None}, otherwise=TRAP, unmet=EPERM), processor)
    assert asked("ioctl", 0, 2) == asked("ioctl", 0, 0x13) == ALLOW
    assert asked("ioctl", 0, 4) == EPERM
    assert asked("read") == ALLOW


def test_every_one_of_several_conditions_has_to_hold(processor: HostProcessor) -> None:
    asked = Asked(Filter({"ioctl": When(0, (1, 2), also=When(1, (7, 8, 9), otherwise=ENOSYS))}, unmet=EPERM), processor)
    assert [asked("ioctl", 1, word) for word in (6, 7, 8, 9, 10)] == [ENOSYS, ALLOW, ALLOW, ALLOW, ENOSYS]
    assert [asked("ioctl", first, 7) for first in (0, 1, 2, 3)] == [EPERM, ALLOW, ALLOW, EPERM]


def test_another_processors_calls_end_the_process(processor: HostProcessor) -> None:
    program = process().program(processor)
    i386 = 0x40000003
    assert ask(program, i386, 11) == KILL_PROCESS  # execve there


def test_calls_of_the_x32_abi_are_none(processor: HostProcessor) -> None:
    program = Filter({"read": None}).program(processor)
    assert ask(program, processor.audit, 0x40000000 | processor.numbers["read"]) == TRAP


def test_no_kind_of_thread_maps_code_or_starts_a_process(processor: HostProcessor) -> None:
    for filter_ in (process(), network(), server(), *(kind.filter for kind in Kind)):
        asked = Asked(filter_, processor)
        connects = filter_.allowed.keys() >= {"socket"}  # a network's process
        assert asked("mmap", 0, 4096, 3) == ALLOW
        for protection in (MMAP_CODE, 7):
            assert asked("mmap", 0, 4096, protection) in (TRAP, EPERM)
            assert asked("mprotect", 0, 4096, protection) in (TRAP, EPERM)
        for name in ("execve", "execveat", "ptrace", "bpf", "unshare", "io_uring_setup", "mount"):
            assert asked(name) == TRAP
        for name in ("socket", "connect"):
            assert asked(name, socket.AF_UNIX) == TRAP or connects
        assert asked("clone", 0) != ALLOW
        assert asked("clone", CLONE_THREAD | CLONE_NEWUSER) != ALLOW
        assert asked("clone3") == ENOSYS  # the C library then uses clone, which can be looked at


def test_threads_that_run_a_guest_or_its_disks_start_no_threads_and_open_nothing(processor: HostProcessor) -> None:
    for kind in (Kind.VCPU, Kind.ALARM, Kind.WORKER, Kind.LINK):
        asked = Asked(kind.filter, processor)
        assert asked("clone", CLONE_THREAD) == TRAP
        assert asked("openat") == EPERM
        assert asked("kill", os.getpid()) == asked("tgkill", os.getpid()) == TRAP


def test_no_thread_that_sees_frames_hands_descriptors_over(processor: HostProcessor) -> None:
    for kind in (Kind.VCPU, Kind.LINK):
        for name in ("sendmsg", "recvmsg", "sendto", "connect", "ioctl"):
            assert Asked(kind.filter, processor)(name) != ALLOW


def test_a_jailed_process_signals_itself_only_and_types_into_no_terminal(processor: HostProcessor) -> None:
    asked = Asked(process(), processor)
    assert asked("kill", os.getpid()) == ALLOW
    assert asked("kill", os.getppid()) == EPERM
    assert asked("ioctl", 0, 0x5412) == EPERM  # TIOCSTI
    assert asked("fcntl", 0, 8) == EPERM  # F_SETOWN, by which signals are sent, too
    assert asked("prlimit64", 0, 7, 0x1000) == EPERM


def test_the_kernel_tells_that_a_process_is_jailed(processor: HostProcessor) -> None:
    for filter_ in (process(), Kind.SERVICE.filter):
        assert Asked(filter_, processor)("prctl", PROBE) == refusal(PROBE_ANSWER)


def test_a_vcpus_thread_needs_few_calls() -> None:
    assert len(Kind.VCPU.filter.allowed) <= 36


def test_a_networks_process_makes_connections_of_the_internets_and_opens_to_read(processor: HostProcessor) -> None:
    for filter_ in (network(), Kind.NETWORK.filter):
        asked = Asked(filter_, processor)
        assert asked("connect") == ALLOW
        for family in (socket.AF_INET, socket.AF_INET6):
            assert asked("socket", family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) == ALLOW
            assert asked("socket", family, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) == ALLOW
            assert asked("socket", family, socket.SOCK_RAW, socket.IPPROTO_ICMP) != ALLOW
            assert asked("socket", family, socket.SOCK_STREAM, socket.IPPROTO_SCTP) != ALLOW
        for family in (socket.AF_UNIX, socket.AF_NETLINK, socket.AF_PACKET):
            assert asked("socket", family, socket.SOCK_STREAM) != ALLOW
            assert asked("socket", family, socket.SOCK_DGRAM) != ALLOW
        assert asked("openat", 0, 0, os.O_RDONLY | os.O_CLOEXEC) == ALLOW
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC):
            assert asked("openat", 0, 0, flags) != ALLOW
        for name in ("execve", "ptrace", "bpf", "unshare", "io_uring_setup", "mount"):
            assert asked(name) == TRAP
        assert asked("mmap", 0, 4096, MMAP_CODE) in (TRAP, EPERM)
    assert Asked(network(), processor)("kill", os.getppid()) == EPERM
    assert Asked(network(), processor)("socketpair", socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) == ALLOW
    assert Asked(network(), processor)("socketpair", socket.AF_UNIX, socket.SOCK_DGRAM) == EPERM
    assert Asked(network(), processor)("socketpair", socket.AF_TIPC, socket.SOCK_STREAM) == EPERM
    assert Asked(Kind.NETWORK.filter, processor)("sendmsg") == TRAP


def test_each_narrower_kind_allows_no_more_than_the_process(processor: HostProcessor) -> None:
    assert Kind.NETWORK.filter.allowed.keys() <= network().allowed.keys()
    assert Kind.FILES.filter.allowed.keys() <= server().allowed.keys()
    everything = process().allowed
    for kind in set(Kind) - {Kind.NETWORK, Kind.FILES}:
        assert kind.filter.allowed.keys() <= everything.keys()
    for kind in (Kind.WORKER, Kind.LINK):
        assert kind.filter.allowed.keys() <= Kind.SERVICE.filter.allowed.keys()  # which starts such threads


def test_a_file_server_makes_names_for_pipes_and_no_devices(processor: HostProcessor) -> None:
    for filter_ in (Kind.FILES.filter, server()):
        asked = Asked(filter_, processor)
        assert asked("mknodat", 3, 0, stat.S_IFIFO | 0o600) == ALLOW
        for kind in (stat.S_IFCHR, stat.S_IFBLK):
            assert asked("mknodat", 3, 0, kind | 0o600) != ALLOW
