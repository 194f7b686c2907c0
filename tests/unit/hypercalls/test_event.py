"""event_channel_op, as Xen 4.17 answers a PV domain (public/event_channel.h)."""

import os
import struct
from collections.abc import Iterator

import pytest

from tests.unit.hypercalls.hypercalls import ARGUMENT, UNMAPPED, call
from xenia.abi.errno import Errno
from xenia.abi.event_channel import (
    EVTCHNOP_alloc_unbound as ALLOC_UNBOUND,
    EVTCHNOP_bind_interdomain as BIND_INTERDOMAIN,
    EVTCHNOP_bind_ipi as BIND_IPI,
    EVTCHNOP_bind_pirq as BIND_PIRQ,
    EVTCHNOP_bind_vcpu as BIND_VCPU,
    EVTCHNOP_bind_virq as BIND_VIRQ,
    EVTCHNOP_close as CLOSE,
    EVTCHNOP_expand_array as EXPAND_ARRAY,
    EVTCHNOP_init_control as INIT_CONTROL,
    EVTCHNOP_reset as RESET,
    EVTCHNOP_send as SEND,
    EVTCHNOP_set_priority as SET_PRIORITY,
    EVTCHNOP_status as STATUS,
    EVTCHNOP_unmask as UNMASK,
)
from xenia.abi.xen import DOMID_SELF, VIRQ_CONSOLE, VIRQ_DEBUG, VIRQ_TIMER, Hypercall
from xenia.testing.still import PAGES, StillDomain


@pytest.fixture
def domain() -> StillDomain:
    return StillDomain(domid=7)


def op(domain: StillDomain, command: int, layout: str, *fields: int) -> tuple[int, tuple[int, ...]]:
    return call(domain, Hypercall.EVENT_CHANNEL_OP, command, layout, *fields)


def bound(result: tuple[int, tuple[int, ...]]) -> int:
    """The port of a successful bind: the structure's last field."""
    assert result[0] == 0
    return result[1][-1]


def status(domain: StillDomain, port: int) -> tuple[int, ...]:
    result, fields = op(domain, STATUS, "=H2xIIIII", DOMID_SELF, port, 0xFF, 0xFF, 0, 0)
    assert result == 0
    return fields[2:]


def test_ports_are_handed_out_lowest_first_and_port_0_never(domain: StillDomain) -> None:
    ports = [bound(op(domain, ALLOC_UNBOUND, "=HHI", DOMID_SELF, 0, 0)) for _ in range(3)]
    assert ports == [1, 2, 3]
    assert op(domain, CLOSE, "=I", 2)[0] == 0
    assert bound(op(domain, BIND_IPI, "=II", 0, 0)) == 2


def test_all_4095_ports_can_be_had_and_no_more(domain: StillDomain) -> None:
    for port in range(1, 4096):
        assert bound(op(domain, BIND_IPI, "=II", 0, 0)) == port
    assert op(domain, BIND_IPI, "=II", 0, 0)[0] == -Errno.ENOSPC


def test_an_unbound_channel_says_for_whom_it_waits_and_drops_what_is_sent(domain: StillDomain) -> None:
    port = bound(op(domain, ALLOC_UNBOUND, "=HHI", DOMID_SELF, 3, 0))
    assert status(domain, port)[:3] == (1, 0, 3)
    assert op(domain, SEND, "=I", port)[0] == 0
    assert domain.pending == set()


def test_ports_can_be_allocated_for_oneself_only(domain: StillDomain) -> None:
    assert op(domain, ALLOC_UNBOUND, "=HHI", 7, 0, 0)[0] == 0
    assert op(domain, ALLOC_UNBOUND, "=HHI", 0, 0, 0)[0] == -Errno.EPERM
    assert op(domain, ALLOC_UNBOUND, "=HHI", 8, 0, 0)[0] == -Errno.ESRCH


def test_binding_both_ends_within_the_domain_carries_events_both_ways(domain: StillDomain) -> None:
    far = bound(op(domain, ALLOC_UNBOUND, "=HHI", DOMID_SELF, DOMID_SELF, 0))
    near = bound(op(domain, BIND_INTERDOMAIN, "=H2xII", DOMID_SELF, far, 0))
    assert domain.pending == {near}, "a new channel starts with one event"
    domain.acknowledge(near)
    assert op(domain, SEND, "=I", near)[0] == 0
    assert domain.pending == {far}
    assert status(domain, near) == (2, 0, 7, far)
    assert status(domain, far) == (2, 0, 7, near)


def test_closing_one_end_leaves_the_other_unbound(domain: StillDomain) -> None:
    far = bound(op(domain, ALLOC_UNBOUND, "=HHI", DOMID_SELF, DOMID_SELF, 0))
    near = bound(op(domain, BIND_INTERDOMAIN, "=H2xII", DOMID_SELF, far, 0))
    assert op(domain, CLOSE, "=I", near)[0] == 0
    assert status(domain, far)[:3] == (1, 0, 7)
    assert status(domain, near)[0] == 0
    assert near not in domain.pending
    assert op(domain, CLOSE, "=I", near)[0] == -Errno.EINVAL


def test_only_a_port_that_waits_for_the_caller_can_be_bound(domain: StillDomain) -> None:
    for_another = bound(op(domain, ALLOC_UNBOUND, "=HHI", DOMID_SELF, 3, 0))
    assert op(domain, BIND_INTERDOMAIN, "=H2xII", DOMID_SELF, for_another, 0)[0] == -Errno.EINVAL
    assert op(domain, BIND_INTERDOMAIN, "=H2xII", DOMID_SELF, 4096, 0)[0] == -Errno.EINVAL
    assert op(domain, BIND_INTERDOMAIN, "=H2xII", 0, for_another, 0)[0] == -Errno.EINVAL
    assert op(domain, BIND_INTERDOMAIN, "=H2xII", 9, for_another, 0)[0] == -Errno.ESRCH
    assert bound(op(domain, BIND_IPI, "=II", 0, 0)) == for_another + 1, "a refused bind keeps no port"


def test_a_virq_is_bound_once_to_a_vcpu_that_exists(domain: StillDomain) -> None:
    port = bound(op(domain, BIND_VIRQ, "=III", VIRQ_TIMER, 0, 0))
    assert status(domain, port) == (4, 0, VIRQ_TIMER, 0)
    assert op(domain, BIND_VIRQ, "=III", VIRQ_TIMER, 0, 0)[0] == -Errno.EEXIST
    assert op(domain, BIND_VIRQ, "=III", VIRQ_DEBUG, 1, 0)[0] == -Errno.ENOENT
    assert op(domain, BIND_VIRQ, "=III", VIRQ_CONSOLE, 1, 0)[0] == -Errno.EINVAL, "a global virq belongs to vcpu 0"
    assert op(domain, BIND_VIRQ, "=III", 24, 0, 0)[0] == -Errno.EINVAL
    assert op(domain, CLOSE, "=I", port)[0] == 0
    assert bound(op(domain, BIND_VIRQ, "=III", VIRQ_TIMER, 0, 0)) == port


def test_guests_raise_ipis_but_not_virqs(domain: StillDomain) -> None:
    ipi = bound(op(domain, BIND_IPI, "=II", 0, 0))
    virq = bound(op(domain, BIND_VIRQ, "=III", VIRQ_DEBUG, 0, 0))
    assert op(domain, SEND, "=I", ipi)[0] == 0
    assert op(domain, SEND, "=I", virq)[0] == -Errno.EINVAL
    assert domain.pending == {ipi}
    assert op(domain, BIND_IPI, "=II", 1, 0)[0] == -Errno.ENOENT


def test_interrupt_lines_are_not_a_guests(domain: StillDomain) -> None:
    assert op(domain, BIND_PIRQ, "=III", 9, 0, 0)[0] == -Errno.EPERM
    assert op(domain, BIND_PIRQ, "=III", 1 << 20, 0, 0)[0] == -Errno.EINVAL


def test_raising_a_port_sets_pending_selector_and_upcall(domain: StillDomain) -> None:
    for _ in range(70):
        port = bound(op(domain, BIND_IPI, "=II", 0, 0))
    op(domain, SEND, "=I", port)
    assert domain.pending == {70}
    assert domain.pending_sel == 1 << 1
    assert domain.upcall_pending


def test_a_masked_port_is_pending_without_an_upcall_until_it_is_unmasked(domain: StillDomain) -> None:
    port = bound(op(domain, BIND_IPI, "=II", 0, 0))
    domain.mask(port)
    op(domain, SEND, "=I", port)
    assert domain.pending == {port}
    assert not domain.upcall_pending
    assert op(domain, UNMASK, "=I", port)[0] == 0
    assert domain.upcall_pending
    assert op(domain, UNMASK, "=I", port + 1)[0] == 0, "a free port has nothing to unmask"
    assert op(domain, UNMASK, "=I", 4096)[0] == -Errno.EINVAL


def test_channels_stay_on_the_vcpu_there_is(domain: StillDomain) -> None:
    unbound = bound(op(domain, ALLOC_UNBOUND, "=HHI", DOMID_SELF, 0, 0))
    timer = bound(op(domain, BIND_VIRQ, "=III", VIRQ_TIMER, 0, 0))
    console = bound(op(domain, BIND_VIRQ, "=III", VIRQ_CONSOLE, 0, 0))
    assert op(domain, BIND_VCPU, "=II", unbound, 0)[0] == 0
    assert op(domain, BIND_VCPU, "=II", console, 0)[0] == 0
    assert op(domain, BIND_VCPU, "=II", timer, 0)[0] == -Errno.EINVAL, "a virq of the vcpu's own does not move"
    assert op(domain, BIND_VCPU, "=II", unbound, 1)[0] == -Errno.ENOENT
    assert op(domain, BIND_VCPU, "=II", 4096, 0)[0] == -Errno.EINVAL


def test_reset_closes_everything(domain: StillDomain) -> None:
    timer = bound(op(domain, BIND_VIRQ, "=III", VIRQ_TIMER, 0, 0))
    ipi = bound(op(domain, BIND_IPI, "=II", 0, 0))
    assert op(domain, RESET, "=H", 0)[0] == -Errno.EPERM
    assert op(domain, RESET, "=H", DOMID_SELF)[0] == 0
    assert status(domain, timer)[0] == status(domain, ipi)[0] == 0
    assert bound(op(domain, BIND_VIRQ, "=III", VIRQ_TIMER, 0, 0)) == timer


def test_channels_exist_64_at_a_time(domain: StillDomain) -> None:
    assert status(domain, 63)[0] == 0
    assert op(domain, STATUS, "=H2xIIIII", DOMID_SELF, 64, 0, 0, 0, 0)[0] == -Errno.EINVAL
    for _ in range(64):
        op(domain, BIND_IPI, "=II", 0, 0)
    assert status(domain, 127)[0] == 0


def test_what_needs_fifo_queues_waits_for_a_control_block(domain: StillDomain) -> None:
    port = bound(op(domain, BIND_IPI, "=II", 0, 0))
    assert op(domain, EXPAND_ARRAY, "=Q", domain.mfn(5))[0] == -Errno.EOPNOTSUPP
    assert op(domain, SET_PRIORITY, "=II", port, 7)[0] == -Errno.ENOSYS
    assert op(domain, SET_PRIORITY, "=II", 4096, 7)[0] == -Errno.EINVAL
    assert op(domain, 99, "=Q", 0)[0] == -Errno.ENOSYS


def init_control(domain: StillDomain, mfn: int, offset: int = 0, vcpu: int = 0) -> tuple[int, int]:
    """EVTCHNOP_init_control: the result, and link_bits."""
    result, fields = op(domain, INIT_CONTROL, "=QIIB7x", mfn, offset, vcpu, 0)
    return result, fields[3]


def test_a_control_block_lies_aligned_within_a_writable_page_of_the_domains(domain: StillDomain) -> None:
    mfn = domain.mfn(4)
    assert init_control(domain, mfn, vcpu=1)[0] == -Errno.ENOENT
    for offset in (4, 4096 - 64, 4096, 0xFFFFFFF8):
        assert init_control(domain, mfn, offset)[0] == -Errno.EINVAL
    for frame in (domain.mfn(PAGES), 0, 1 << 40, 2**64 - 1):
        assert init_control(domain, frame)[0] == -Errno.EINVAL
    assert op(domain, EXPAND_ARRAY, "=Q", mfn)[0] == -Errno.EOPNOTSUPP, "nothing of it was kept"
    assert init_control(domain, mfn, 4096 - 72) == (0, 17)
    assert init_control(domain, mfn)[0] == -Errno.EINVAL, "there is one already"
    assert domain.audit() == []


def test_a_control_block_is_there_though_the_answer_finds_no_place(domain: StillDomain) -> None:
    read_only = ARGUMENT + PAGES * 4096
    domain.write(read_only + 0x800, struct.pack("=QIIQ", domain.mfn(4), 0, 0, 0))
    assert domain.call(Hypercall.EVENT_CHANNEL_OP, INIT_CONTROL, read_only + 0x800) == -Errno.EFAULT
    assert op(domain, EXPAND_ARRAY, "=Q", domain.mfn(5))[0] == 0


def test_the_event_array_has_room_for_128_pages(domain: StillDomain) -> None:
    assert init_control(domain, domain.mfn(4))[0] == 0
    for frame in (domain.mfn(PAGES), 0, 2**64 - 1):
        assert op(domain, EXPAND_ARRAY, "=Q", frame)[0] == -Errno.EINVAL
    for _ in range(128):
        assert op(domain, EXPAND_ARRAY, "=Q", domain.mfn(5))[0] == 0
    assert op(domain, EXPAND_ARRAY, "=Q", domain.mfn(5))[0] == -Errno.ENOSPC
    assert domain.audit() == []


def test_priorities_are_0_to_15_and_of_ports_in_use(domain: StillDomain) -> None:
    port = bound(op(domain, BIND_IPI, "=II", 0, 0))
    assert init_control(domain, domain.mfn(4))[0] == 0
    assert op(domain, SET_PRIORITY, "=II", port, 0)[0] == 0
    assert op(domain, SET_PRIORITY, "=II", port, 15)[0] == 0
    assert op(domain, SET_PRIORITY, "=II", port, 16)[0] == -Errno.EINVAL
    assert op(domain, SET_PRIORITY, "=II", 0, 7)[0] == -Errno.EACCES
    assert op(domain, SET_PRIORITY, "=II", port + 1, 16)[0] == -Errno.EACCES
    assert op(domain, SET_PRIORITY, "=II", 4096, 7)[0] == -Errno.EINVAL


def test_all_131071_fifo_ports_can_be_had_and_no_more(domain: StillDomain) -> None:
    assert init_control(domain, domain.mfn(4))[0] == 0
    domain.write(ARGUMENT, bytes(8))
    for _ in range(131071):
        if domain.call(Hypercall.EVENT_CHANNEL_OP, BIND_IPI, ARGUMENT):
            break
    assert struct.unpack("=II", domain.read(ARGUMENT, 8)) == (0, 131071)
    assert op(domain, BIND_IPI, "=II", 0, 0)[0] == -Errno.ENOSPC
    assert op(domain, RESET, "=H", DOMID_SELF)[0] == 0
    assert bound(op(domain, BIND_IPI, "=II", 0, 0)) == 1
    assert status(domain, 131071)[0] == 0, "channels that exist stay, closed"


@pytest.mark.parametrize("command", range(14))
def test_an_argument_out_of_reach_is_a_fault(domain: StillDomain, command: int) -> None:
    assert domain.call(Hypercall.EVENT_CHANNEL_OP, command, UNMAPPED) == -Errno.EFAULT


def test_a_port_that_cannot_be_told_is_given_back(domain: StillDomain) -> None:
    read_only = ARGUMENT + 32 * 4096  # the still domain's own page table: readable, and no place for an answer
    assert domain.call(Hypercall.EVENT_CHANNEL_OP, BIND_IPI, read_only + 0x800) == -Errno.EFAULT
    assert bound(op(domain, BIND_IPI, "=II", 0, 0)) == 1


def test_the_older_form_carries_its_command_in_the_structure(domain: StillDomain) -> None:
    domain.write(ARGUMENT, struct.pack("=IIIIII", BIND_IPI, 0, 0, 0, 0, 0))
    assert domain.call(Hypercall.EVENT_CHANNEL_OP_COMPAT, ARGUMENT) == 0
    assert struct.unpack("=III", domain.read(ARGUMENT, 12)) == (BIND_IPI, 0, 1)
    domain.write(ARGUMENT, struct.pack("=I", RESET))
    assert domain.call(Hypercall.EVENT_CHANNEL_OP_COMPAT, ARGUMENT) == -Errno.ENOSYS


def test_sending_to_xenia_writes_to_the_backends_eventfd(domain: StillDomain) -> None:
    notify = os.eventfd(0, os.EFD_NONBLOCK)
    port = domain.open_channel(0, 0, notify)
    assert status(domain, port) == (2, 0, 0, 0), "the guest sees a channel to domain 0"
    for _ in range(3):
        assert op(domain, SEND, "=I", port)[0] == 0
    assert os.eventfd_read(notify) == 3
    os.close(notify)


def test_a_backend_binds_to_a_port_that_the_guest_left_for_it(domain: StillDomain) -> None:
    notify = os.eventfd(0, os.EFD_NONBLOCK)
    port = bound(op(domain, ALLOC_UNBOUND, "=HHI", DOMID_SELF, 0, 0))
    assert domain.connect_channel(port, 3, notify) == -Errno.EINVAL, "it waits for domain 0"
    assert domain.connect_channel(port, 0, notify) == 0
    assert domain.connect_channel(port, 0, notify) == -Errno.EINVAL
    op(domain, SEND, "=I", port)
    assert os.eventfd_read(notify) == 1
    assert op(domain, CLOSE, "=I", port)[0] == 0
    assert op(domain, SEND, "=I", port)[0] == -Errno.EINVAL
    os.close(notify)


@pytest.fixture
def bound_port(domain: StillDomain) -> Iterator[tuple[int, int]]:
    """A port that a backend is bound to, and its eventfd."""
    notify = os.eventfd(0, os.EFD_NONBLOCK)
    port = bound(op(domain, ALLOC_UNBOUND, "=HHI", DOMID_SELF, 0, 0))
    assert domain.connect_channel(port, 0, notify) == 0
    yield port, notify
    os.close(notify)


@pytest.mark.parametrize("back", [False, True])
def test_a_backend_that_listens_is_asked_where_the_event_is_sent(
    domain: StillDomain, bound_port: tuple[int, int], back: bool
) -> None:
    port, notify = bound_port
    assert domain.listen_channel(port, notify, back)
    assert op(domain, SEND, "=I", port)[0] == 0
    assert domain.nr_heard == 1
    assert (port in domain.pending) == back
    assert domain.kicks == 0
    with pytest.raises(BlockingIOError):
        os.eventfd_read(notify)
    domain.ignore_channel(port)
    assert op(domain, SEND, "=I", port)[0] == 0
    assert domain.nr_heard == 1
    assert os.eventfd_read(notify) == 1


def test_only_who_is_bound_to_a_port_listens_and_only_until_it_is_closed(
    domain: StillDomain, bound_port: tuple[int, int]
) -> None:
    port, notify = bound_port
    assert not domain.listen_channel(port, notify + 1, False)
    assert domain.listen_channel(port, notify, False)
    assert op(domain, CLOSE, "=I", port)[0] == 0
    assert op(domain, SEND, "=I", port)[0] == -Errno.EINVAL
    again = bound(op(domain, ALLOC_UNBOUND, "=HHI", DOMID_SELF, 0, 0))
    assert again == port
    assert op(domain, SEND, "=I", again)[0] == 0
    domain.ignore_channel(port)
    assert domain.connect_channel(port, 0, notify) == 0
    assert domain.listen_channel(port, notify, False)
    domain.disconnect_channel(port, notify)
    assert op(domain, SEND, "=I", port)[0] == 0
    assert domain.nr_heard == 0


# --- between two domains


def alloc_for(domain: StillDomain, remote: int) -> int:
    result, fields = call(domain, Hypercall.EVENT_CHANNEL_OP, 6, "<HHI", DOMID_SELF, remote, 0)
    assert result == 0
    return fields[2]


def bind_to(domain: StillDomain, remote: int, port: int) -> tuple[int, int]:
    result, fields = call(domain, Hypercall.EVENT_CHANNEL_OP, 0, "<HxxII", remote, port, 0)
    return result, fields[2]


@pytest.fixture
def neighbours() -> tuple[StillDomain, StillDomain]:
    first = StillDomain(1, memory=2 << 20)
    return first, StillDomain(2, beside=first)


def test_two_domains_bind_a_channel_and_notify_each_other(neighbours: tuple[StillDomain, StillDomain]) -> None:
    first, second = neighbours
    port = alloc_for(first, 2)
    result, other = bind_to(second, 1, port)
    assert result == 0
    assert second.pending == {other}  # each new channel starts with one event
    second.acknowledge(other)
    assert call(first, Hypercall.EVENT_CHANNEL_OP, 4, "<I", port)[0] == 0
    assert second.pending == set()  # it waits in the mailbox
    second.apply_mailbox()
    assert second.pending == {other}
    assert call(second, Hypercall.EVENT_CHANNEL_OP, 4, "<I", other)[0] == 0
    first.apply_mailbox()
    assert first.pending == {port}
    status = call(first, Hypercall.EVENT_CHANNEL_OP, 5, "<HxxIIIHxxI", DOMID_SELF, port, 0, 0, 0, 0)[1]
    assert status[2:] == (
        2,
        0,
        2,
        other,
    )


def test_only_the_domain_it_was_allocated_for_binds_a_port(neighbours: tuple[StillDomain, StillDomain]) -> None:
    first, second = neighbours
    third = StillDomain(3, beside=first)
    port = alloc_for(first, 2)
    assert bind_to(third, 1, port)[0] == -Errno.EINVAL
    assert bind_to(second, 1, port + 1)[0] == -Errno.EINVAL
    assert bind_to(second, 1, 1 << 31)[0] == -Errno.EINVAL
    assert bind_to(second, 77, port)[0] == -Errno.ESRCH
    assert bind_to(second, 1, port)[0] == 0
    assert bind_to(second, 1, port)[0] == -Errno.EINVAL  # taken


def test_closing_one_end_leaves_the_other_domains_unbound(neighbours: tuple[StillDomain, StillDomain]) -> None:
    first, second = neighbours
    port = alloc_for(first, 2)
    _, other = bind_to(second, 1, port)
    assert call(second, Hypercall.EVENT_CHANNEL_OP, 3, "<I", other)[0] == 0
    status = call(first, Hypercall.EVENT_CHANNEL_OP, 5, "<HxxIIIHxxI", DOMID_SELF, port, 0, 0, 0, 0)[1]
    assert (status[2], status[4]) == (1, 2)
    assert call(first, Hypercall.EVENT_CHANNEL_OP, 4, "<I", port)[0] == 0
    second.apply_mailbox()
    assert second.pending == set()
    assert bind_to(second, 1, port)[0] == 0


@pytest.mark.parametrize("end", ["reset", "destroy"])
def test_a_domain_that_ends_leaves_its_channels_unbound(neighbours: tuple[StillDomain, StillDomain], end: str) -> None:
    first, second = neighbours
    port = alloc_for(first, 2)
    bind_to(second, 1, port)
    if end == "reset":
        assert call(second, Hypercall.EVENT_CHANNEL_OP, 10, "<H", DOMID_SELF)[0] == 0
    else:
        second.destroy()
    status = call(first, Hypercall.EVENT_CHANNEL_OP, 5, "<HxxIIIHxxI", DOMID_SELF, port, 0, 0, 0, 0)[1]
    assert status[2] == 1
    assert call(first, Hypercall.EVENT_CHANNEL_OP, 4, "<I", port)[0] == 0
