"""FIFO event queues: what Xen puts into the guest's control block and event array, and what a guest can do to them."""

from __future__ import annotations

import os
import random
import struct
import threading
from collections.abc import Iterable

import pytest

from tests.unit.hypercalls.hypercalls import ARGUMENT, call
from xenia.abi.errno import Errno
from xenia.abi.event_channel import (
    EVTCHN_FIFO_BUSY,
    EVTCHN_FIFO_LINK_MASK as LINK,
    EVTCHN_FIFO_LINKED,
    EVTCHN_FIFO_MASKED,
    EVTCHN_FIFO_PENDING,
    EVTCHNOP_alloc_unbound as ALLOC_UNBOUND,
    EVTCHNOP_bind_interdomain as BIND_INTERDOMAIN,
    EVTCHNOP_bind_ipi as BIND_IPI,
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
from xenia.abi.grant_table import GNTTABOP_setup_table as GRANT_TABLE_SETUP
from xenia.abi.memory import XENMEM_decrease_reservation as DECREASE_RESERVATION
from xenia.abi.sched import SCHEDOP_block as BLOCK, SCHEDOP_poll as POLL
from xenia.abi.xen import (
    DOMID_SELF,
    MMUEXT_PIN_L1_TABLE as PIN_L1_TABLE,
    MMUEXT_UNPIN_TABLE as UNPIN_TABLE,
    VIRQ_TIMER,
    Hypercall,
)
from xenia.testing.still import BASE, StillDomain

PENDING, MASKED = 1 << EVTCHN_FIFO_PENDING, 1 << EVTCHN_FIFO_MASKED
LINKED, BUSY = 1 << EVTCHN_FIFO_LINKED, 1 << EVTCHN_FIFO_BUSY
CONTROL_PAGE, FIRST_ARRAY_PAGE, OFFSET = 4, 6, 256
PAGE = 4096


class FifoGuest:
    """A guest that takes its events from FIFO queues, as a kernel does: `pages` of its event array are there."""

    def __init__(self, domain: StillDomain, pages: int = 1) -> None:
        self.domain = domain
        self.pages = 0
        self.heads = [0] * 16
        assert self.init() == 0
        for _ in range(pages):
            assert self.expand() == 0

    def op(self, command: int, layout: str, *fields: int) -> tuple[int, tuple[int, ...]]:
        return call(self.domain, Hypercall.EVENT_CHANNEL_OP, command, layout, *fields)

    def init(self, page: int = CONTROL_PAGE, offset: int = OFFSET) -> int:
        return self.op(INIT_CONTROL, "=QIIQ", self.domain.mfn(page), offset, 0, 0)[0]

    def expand(self) -> int:
        result = self.op(EXPAND_ARRAY, "=Q", self.domain.mfn(FIRST_ARRAY_PAGE + self.pages))[0]
        self.pages += result == 0
        return result

    def ipi(self, priority: int = 7) -> int:
        result, (_, port) = self.op(BIND_IPI, "=II", 0, 0)
        assert result == 0
        if priority != 7:
            self.prioritize(port, priority)
        return port

    def prioritize(self, port: int, priority: int) -> None:
        assert self.op(SET_PRIORITY, "=II", port, priority)[0] == 0

    def send(self, *ports: int) -> None:
        for port in ports:
            assert self.op(SEND, "=I", port)[0] == 0

    def unmask(self, port: int) -> None:
        assert self.op(UNMASK, "=I", port)[0] == 0

    # --- its memory

    def _word(self, port: int) -> int:
        return BASE + (FIRST_ARRAY_PAGE + port // 1024) * PAGE + port % 1024 * 4

    def word(self, port: int) -> int:
        return int.from_bytes(self.domain.read(self._word(port), 4), "little")

    def set_word(self, port: int, value: int) -> None:
        self.domain.write(self._word(port), value.to_bytes(4, "little"))

    @property
    def ready(self) -> int:
        return int.from_bytes(self.domain.read(BASE + CONTROL_PAGE * PAGE + OFFSET, 4), "little")

    @ready.setter
    def ready(self, value: int) -> None:
        self.domain.write(BASE + CONTROL_PAGE * PAGE + OFFSET, value.to_bytes(4, "little"))

    def head(self, queue: int) -> int:
        return int.from_bytes(self.domain.read(BASE + CONTROL_PAGE * PAGE + OFFSET + 8 + 4 * queue, 4), "little")

    # --- its upcall

    def take(self) -> Iterable[int]:
        """Take what is queued, most urgent first; each port that is to be handled."""
        ready, self.ready = self.ready, 0
        self.domain.acknowledge_upcall()
        while ready:
            queue = (ready & -ready).bit_length() - 1
            port = self.heads[queue] or self.head(queue)
            word = self.word(port)
            self.set_word(port, word & ~(LINKED | LINK))
            self.heads[queue] = word & LINK
            if not self.heads[queue]:
                ready &= ~(1 << queue)
            if word & PENDING and not word & MASKED:
                self.set_word(port, self.word(port) & ~PENDING)
                yield port
            ready |= self.ready
            self.ready = 0

    def taken(self) -> list[int]:
        return list(self.take())


@pytest.fixture
def domain() -> StillDomain:
    return StillDomain(domid=7)


@pytest.fixture
def guest(domain: StillDomain) -> FifoGuest:
    return FifoGuest(domain)


def test_an_event_is_linked_as_the_head_of_its_queue_and_the_guest_is_told(guest: FifoGuest) -> None:
    port = guest.ipi()
    guest.send(port)
    assert guest.word(port) == PENDING | LINKED
    assert (guest.ready, guest.head(7)) == (1 << 7, port)
    assert guest.domain.upcall_pending
    assert guest.domain.pending == set(), "shared_info has no part in it"
    assert guest.taken() == [port]


def test_events_come_by_priority_and_within_one_in_order(guest: FifoGuest) -> None:
    ports = [guest.ipi(priority) for priority in (15, 7, 0, 7, 3, 7)]
    guest.send(*ports)
    assert guest.word(ports[1]) & LINK == ports[3]
    assert guest.taken() == [ports[2], ports[4], ports[1], ports[3], ports[5], ports[0]]


def test_an_event_that_is_pending_already_is_raised_once(guest: FifoGuest) -> None:
    port = guest.ipi()
    guest.send(port, port, port)
    assert guest.taken() == [port]
    assert guest.taken() == []


def test_a_masked_event_is_pending_and_on_no_queue_until_it_is_unmasked(guest: FifoGuest) -> None:
    port = guest.ipi()
    guest.set_word(port, MASKED)
    guest.send(port)
    assert guest.word(port) == PENDING | MASKED
    assert not guest.domain.upcall_pending
    guest.unmask(port)
    assert guest.taken() == [port]
    guest.unmask(port)
    assert guest.taken() == []


def test_the_guest_is_told_when_a_queue_begins_and_not_when_it_grows(guest: FifoGuest) -> None:
    first, second = guest.ipi(), guest.ipi()
    guest.send(first)
    guest.ready = 0
    guest.domain.acknowledge_upcall()
    guest.send(second)
    assert (guest.ready, guest.domain.upcall_pending) == (0, False)
    assert guest.word(first) & LINK == second


def test_an_event_keeps_its_queue_until_it_is_taken(guest: FifoGuest) -> None:
    port, other = guest.ipi(), guest.ipi()
    guest.send(port, other)
    guest.prioritize(port, 15)
    guest.send(port)
    assert guest.taken() == [port, other]
    guest.send(port, other)
    assert guest.taken() == [other, port]


def test_a_queue_does_not_go_on_behind_an_end_that_is_on_another_now(guest: FifoGuest) -> None:
    moved, other = guest.ipi(), guest.ipi()
    guest.send(moved)
    assert guest.taken() == [moved]
    guest.prioritize(moved, 0)
    guest.send(moved, other)
    assert (guest.head(0), guest.head(7)) == (moved, other)
    assert guest.word(moved) & LINK == 0
    assert guest.taken() == [moved, other]


def test_what_was_pending_in_shared_info_is_raised_when_its_word_is_there(domain: StillDomain) -> None:
    result, (_, port) = call(domain, Hypercall.EVENT_CHANNEL_OP, BIND_IPI, "=II", 0, 0)
    assert result == 0
    assert call(domain, Hypercall.EVENT_CHANNEL_OP, SEND, "=I", port)[0] == 0
    guest = FifoGuest(domain, pages=0)
    domain.acknowledge_upcall()
    assert not domain.upcall_pending
    assert guest.expand() == 0
    assert domain.upcall_pending
    assert guest.taken() == [port]


def test_events_of_ports_beyond_the_array_wait_for_their_page(guest: FifoGuest) -> None:
    ports = [guest.ipi() for _ in range(5000)]
    guest.send(ports[-1], ports[-2])
    guest.op(CLOSE, "=I", ports[-2])
    assert not guest.domain.upcall_pending
    for _ in range(4):
        assert guest.expand() == 0
    assert guest.taken() == [ports[-1]], "it was closed meanwhile"
    guest.domain.post(ports[4500])
    guest.domain.apply_mailbox()
    assert guest.taken() == [ports[4500]]


def test_events_from_other_threads_and_domains_reach_the_queues(domain: StillDomain) -> None:
    guest, other = FifoGuest(domain), StillDomain(domid=2, beside=domain)
    result, fields = guest.op(ALLOC_UNBOUND, "=HHI", DOMID_SELF, 2, 0)
    assert result == 0
    result, (_, _, far) = call(other, Hypercall.EVENT_CHANNEL_OP, BIND_INTERDOMAIN, "=H2xII", 7, fields[2], 0)
    assert result == 0
    assert call(other, Hypercall.EVENT_CHANNEL_OP, SEND, "=I", far)[0] == 0
    assert guest.taken() == []
    domain.apply_mailbox()
    assert guest.taken() == [fields[2]]
    guest.send(fields[2])
    other.apply_mailbox()
    assert far in other.pending, "the other end has an ABI of its own"


def test_the_timer_and_poll_know_the_queues(guest: FifoGuest) -> None:
    result, (_, _, timer) = guest.op(BIND_VIRQ, "=III", VIRQ_TIMER, 0, 0)
    assert result == 0
    guest.set_word(timer, MASKED)
    guest.domain.write(ARGUMENT + 64, timer.to_bytes(4, "little"))
    guest.domain.write(ARGUMENT, struct.pack("=QIxxxxQ", ARGUMENT + 64, 1, 0))
    assert guest.domain.call(Hypercall.SCHED_OP, POLL, ARGUMENT) == 0
    assert guest.domain.blocked
    guest.domain.call(Hypercall.SET_TIMER_OP, guest.domain.now + 1000)
    guest.domain.advance(2000)
    guest.domain.fire()
    assert not guest.domain.blocked
    assert guest.word(timer) == PENDING | MASKED
    guest.domain.write(ARGUMENT, struct.pack("=QIxxxxQ", ARGUMENT + 64, 1, 0))
    assert guest.domain.call(Hypercall.SCHED_OP, POLL, ARGUMENT) == 0
    assert not guest.domain.blocked, "it is pending already"
    guest.unmask(timer)
    assert guest.taken() == [timer]


def test_an_event_wakes_a_blocked_vcpu(guest: FifoGuest) -> None:
    wake = os.eventfd(0, os.EFD_NONBLOCK)
    guest.domain.set_wake_fd(wake)
    port = guest.ipi()
    assert guest.domain.call(Hypercall.SCHED_OP, BLOCK, 0) == 0
    guest.domain.post(port)
    assert os.eventfd_read(wake) == 1
    guest.domain.apply_mailbox()
    assert not guest.domain.blocked
    os.close(wake)


def test_a_closed_port_is_not_given_out_again_while_it_is_queued(guest: FifoGuest) -> None:
    port = guest.ipi(priority=2)
    guest.send(port)
    assert guest.op(CLOSE, "=I", port)[0] == 0
    assert guest.word(port) == LINKED
    assert guest.ipi() == port + 1
    assert guest.taken() == []
    assert guest.ipi() == port
    guest.send(port)
    assert guest.head(7) == port, "its priority is the usual one again"


def test_nothing_is_lost_between_posters_of_distant_ports_and_the_domains_thread(domain: StillDomain) -> None:
    guest = FifoGuest(domain, pages=16)
    ports = [guest.ipi() for _ in range(16383)][::7]
    posters = [threading.Thread(target=lambda mine: [*map(domain.post, mine)], args=[ports[i::4]]) for i in range(4)]
    taken: set[int] = set()
    for poster in posters:
        poster.start()
    for poster in posters:
        domain.apply_mailbox()
        taken.update(guest.take())
        poster.join()
    domain.apply_mailbox()
    taken.update(guest.take())
    assert taken == set(ports)


def mapped_readonly(domain: StillDomain, page: int) -> None:
    assert domain.call(Hypercall.UPDATE_VA_MAPPING, BASE + page * PAGE, domain.mfn(page) << 12 | 0x61, 2) == 0


def pin(domain: StillDomain, command: int, page: int) -> int:
    domain.write(ARGUMENT, struct.pack("=IxxxxQQ", command, domain.mfn(page), 0))
    return domain.call(Hypercall.MMUEXT_OP, ARGUMENT, 1, 0, DOMID_SELF)


def test_its_pages_become_no_page_tables_until_reset_lets_them_go(guest: FifoGuest) -> None:
    pages = (CONTROL_PAGE, FIRST_ARRAY_PAGE)
    for page in pages:
        mapped_readonly(guest.domain, page)
        assert pin(guest.domain, PIN_L1_TABLE, page) == -Errno.EINVAL
    assert guest.domain.audit() == []
    assert guest.op(RESET, "=H", DOMID_SELF)[0] == 0
    assert guest.domain.audit() == []
    for page in pages:
        assert pin(guest.domain, PIN_L1_TABLE, page) == 0
        assert pin(guest.domain, UNPIN_TABLE, page) == 0
    assert guest.domain.audit() == []


def test_frames_that_xen_shares_with_the_domain_serve_as_well(domain: StillDomain) -> None:
    domain.write(ARGUMENT, struct.pack("<HxxIhxxxxxxQ", DOMID_SELF, 2, 0, ARGUMENT + 64))
    assert domain.call(Hypercall.GRANT_TABLE_OP, GRANT_TABLE_SETUP, ARGUMENT, 1) == 0
    control, array = struct.unpack("<QQ", domain.read(ARGUMENT + 64, 16))
    assert call(domain, Hypercall.EVENT_CHANNEL_OP, INIT_CONTROL, "=QIIQ", control, 0, 0, 0)[0] == 0
    assert call(domain, Hypercall.EVENT_CHANNEL_OP, EXPAND_ARRAY, "=Q", array)[0] == 0
    assert domain.audit() == []
    assert domain.destroy() == 0


def test_a_page_that_the_guest_gave_up_stays_until_it_is_let_go(guest: FifoGuest) -> None:
    domain, page = guest.domain, FIRST_ARRAY_PAGE
    port, mfn = guest.ipi(), domain.mfn(page)
    domain.call(Hypercall.UPDATE_VA_MAPPING, BASE + page * PAGE, 0, 2)
    domain.write(
        ARGUMENT,
        struct.pack("=QQIIHxxxxxx", ARGUMENT + 64, 1, 0, 0, DOMID_SELF) + bytes(32) + mfn.to_bytes(8, "little"),
    )
    assert domain.call(Hypercall.MEMORY_OP, DECREASE_RESERVATION, ARGUMENT) == 1
    guest.send(port)
    assert guest.word(port) == PENDING | LINKED
    assert domain.frame(mfn)[:2] == (1, 1)
    assert domain.audit() == []
    assert guest.op(RESET, "=H", DOMID_SELF)[0] == 0
    assert domain.frame(mfn)[0] == 0
    assert domain.audit() == []


def test_the_domains_end_lets_them_go(guest: FifoGuest) -> None:
    guest.send(guest.ipi())
    assert guest.domain.destroy() == 0


def test_reset_returns_to_two_levels_and_the_queues_can_be_set_up_again(guest: FifoGuest) -> None:
    guest.send(guest.ipi(), guest.ipi())
    assert guest.op(RESET, "=H", DOMID_SELF)[0] == 0
    assert guest.op(EXPAND_ARRAY, "=Q", guest.domain.mfn(FIRST_ARRAY_PAGE))[0] == -Errno.EOPNOTSUPP
    port = guest.ipi()
    assert port == 1
    guest.send(port)
    assert guest.domain.pending == {port}
    assert guest.op(CLOSE, "=I", port)[0] == 0
    for page in (CONTROL_PAGE, FIRST_ARRAY_PAGE):
        guest.domain.write(BASE + page * PAGE, bytes(PAGE))
    again = FifoGuest(guest.domain)
    again.send(again.ipi())
    assert again.taken() == [port]


def test_after_a_reset_no_queue_goes_on_where_it_ended(domain: StillDomain) -> None:
    guest = FifoGuest(domain, pages=2)
    ports = [guest.ipi() for _ in range(1500)]
    guest.send(ports[-1])
    assert guest.op(RESET, "=H", DOMID_SELF)[0] == 0
    again = FifoGuest(domain)  # with less of an array, which does not reach that far
    port = again.ipi()
    again.send(port)
    assert (again.head(7), again.ready) == (port, 1 << 7)


@pytest.mark.parametrize("seed", range(4))
def test_a_guest_that_keeps_to_the_rules_gets_every_event(domain: StillDomain, seed: int) -> None:
    guest, draw = FifoGuest(domain), random.Random(seed)
    ports = [guest.ipi(draw.randrange(16)) for _ in range(24)]
    masked: set[int] = set()
    due: set[int] = set()
    for _ in range(3000):
        port = draw.choice(ports)
        choice = draw.randrange(10)
        if choice < 5:
            guest.send(port)
            due.add(port)
        elif choice == 5:
            guest.prioritize(port, draw.randrange(16))
        elif choice == 6:
            guest.set_word(port, guest.word(port) | MASKED)
            masked.add(port)
        elif choice == 7:
            guest.unmask(port)
            masked.discard(port)
        elif domain.upcall_pending:
            for taken in guest.take():  # some arrive while others are taken
                assert taken in due - masked
                due.discard(taken)
                if draw.randrange(4) == 0:
                    again = draw.choice(ports)
                    guest.send(again)
                    due.add(again)
            assert due <= masked
    for port in masked:
        guest.unmask(port)
    assert {*guest.taken()} == due
    assert domain.audit() == []


@pytest.mark.parametrize("seed", range(4))
def test_a_guest_that_scribbles_over_its_queues_hurts_nobody(domain: StillDomain, seed: int) -> None:
    draw = random.Random(seed)
    guest = FifoGuest(domain, pages=2)
    mine = {CONTROL_PAGE, *range(FIRST_ARRAY_PAGE, FIRST_ARRAY_PAGE + 5)}
    others = [page for page in range(1, 32) if page not in mine]
    for page in others:
        domain.write(BASE + page * PAGE, bytes([page]) * PAGE)
    control = BASE + CONTROL_PAGE * PAGE
    domain.write(control, b"\xa5" * PAGE)

    def noise() -> int:
        return draw.choice((0, LINK, PENDING | LINKED, 0xFFFFFFFF, draw.getrandbits(32), LINKED | draw.randrange(2048)))

    succeeded: dict[int, int] = {}
    for _ in range(6000):
        for _ in range(draw.randrange(4)):
            if draw.randrange(3):
                guest.set_word(draw.choice((draw.randrange(16), draw.randrange(5 * 1024))), noise())
            else:
                domain.write(control + OFFSET + 4 * draw.randrange(18), noise().to_bytes(4, "little"))
        port = draw.choice((draw.randrange(16), draw.randrange(5000), draw.getrandbits(32)))
        command = draw.choice((SEND, SEND, SEND, BIND_IPI, CLOSE, UNMASK, SET_PRIORITY, STATUS, EXPAND_ARRAY, RESET))
        if command == BIND_IPI:
            result = guest.op(command, "=II", 0, 0)[0]
        elif command == SET_PRIORITY:
            result = guest.op(command, "=II", port, draw.randrange(20))[0]
        elif command == STATUS:
            result = guest.op(command, "=H2xIIIII", DOMID_SELF, port, 0, 0, 0, 0)[0]
        elif command == EXPAND_ARRAY:
            result = guest.expand() if guest.pages < 5 and draw.randrange(50) == 0 else 0
        elif command == RESET:
            result = 0
            if draw.randrange(100) == 0:
                assert guest.op(RESET, "=H", DOMID_SELF)[0] == 0
                guest = FifoGuest(domain, pages=draw.randrange(3))
        else:
            result = guest.op(command, "=I", port)[0]
        succeeded[command] = succeeded.get(command, 0) + (result == 0)
        if draw.randrange(4) == 0:
            domain.post(port)
            domain.apply_mailbox()
    assert min(succeeded.values()) > 100, "the noise got through to the queues"
    for page in others:
        assert domain.read(BASE + page * PAGE, PAGE) == bytes([page]) * PAGE
    block = domain.read(control, PAGE)
    assert {*block[:OFFSET], *block[OFFSET + 72 :]} == {0xA5}, "nothing around the control block was touched"
    assert domain.audit() == []
    assert domain.destroy() == 0
