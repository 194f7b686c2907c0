"""Every noun of a domain, saved in the middle of random use and restored: nobody can tell it from one that was not."""

from __future__ import annotations

import struct
from collections.abc import Callable

from hypothesis import given, settings, strategies as st

from tests.unit.hypercalls.hypercalls import ARGUMENT, LIST
from xenia.abi import event_channel as ec, grant_table as gt, sched, vcpu as vc, xen
from xenia.abi.xen import DOMID_SELF, Hypercall
from xenia.testing.persist import check
from xenia.testing.saved import SavedStill
from xenia.testing.still import BASE, PAGES, StillDomain

PAGE = 4096
CONTROL, ARRAY, INFO, RUNSTATE, TIME, TABLE, DATA = 4, 6, 10, 11, 12, 14, 16
INFO_OFFSET = 128
MS = 1_000_000

Operation = tuple[str, int, int]


def event(domain: StillDomain, command: int, layout: str, *fields: int) -> object:
    domain.write(ARGUMENT, struct.pack(layout, *fields))
    result = domain.call(Hypercall.EVENT_CHANNEL_OP, command, ARGUMENT)
    return result, domain.read(ARGUMENT, struct.calcsize(layout))


def fifo(domain: StillDomain) -> object:
    """To the FIFO ABI, with every port unmasked."""
    done = event(domain, ec.EVTCHNOP_init_control, "=QIIQ", domain.mfn(CONTROL), 64, 0, 0)
    domain.write(BASE + ARRAY * PAGE, bytes(PAGE))
    return done, event(domain, ec.EVTCHNOP_expand_array, "=Q", domain.mfn(ARRAY))


def argument(domain: StillDomain, layout: str, *fields: int) -> int:
    domain.write(ARGUMENT, struct.pack(layout, *fields))
    return ARGUMENT


def pages(domain: StillDomain, page: int, writable: bool) -> object:
    pte = domain.mfn(page) << 12 | (0x63 if writable else 0x61)
    return domain.call(Hypercall.UPDATE_VA_MAPPING, BASE + page * PAGE, pte, 2)


def pin(domain: StillDomain, command: int, page: int) -> object:
    argument(domain, "=IxxxxQQ", command, domain.mfn(page), 0)
    return domain.call(Hypercall.MMUEXT_OP, ARGUMENT, 1, 0, DOMID_SELF)


def vcpu_op(domain: StillDomain, command: int, layout: str = "=Q", *fields: int) -> object:
    return domain.call(Hypercall.VCPU_OP, command, 0, argument(domain, layout, *(fields or (0,))))


def poll(domain: StillDomain, port: int, ms: int) -> object:
    domain.write(LIST, struct.pack("=I", port))
    where = argument(domain, "=QIxxxxQ", LIST, 1, domain.now + ms * MS if ms else 0)
    return domain.call(Hypercall.SCHED_OP, sched.SCHEDOP_poll, where)


def grant_table(domain: StillDomain, nr_frames: int) -> object:
    argument(domain, "=HxxIhxxxxxxQ", DOMID_SELF, nr_frames, 0, LIST)
    result = domain.call(Hypercall.GRANT_TABLE_OP, gt.GNTTABOP_setup_table, ARGUMENT, 1)
    domain.write(LIST, bytes(8 * nr_frames))  # which frames it gets is the machine's business, whoever was saved
    return result, domain.read(ARGUMENT, 24)


def grant_version(domain: StillDomain, version: int) -> object:
    argument(domain, "=I", version)
    return domain.call(Hypercall.GRANT_TABLE_OP, gt.GNTTABOP_set_version, ARGUMENT, 1), domain.read(ARGUMENT, 4)


DO: dict[str, Callable[[StillDomain, int, int], object]] = {
    "virq": lambda d, a, b: event(d, ec.EVTCHNOP_bind_virq, "=III", a, 0, 0),
    "ipi": lambda d, a, b: event(d, ec.EVTCHNOP_bind_ipi, "=II", 0, 0),
    "unbound": lambda d, a, b: event(d, ec.EVTCHNOP_alloc_unbound, "=HHI", DOMID_SELF, DOMID_SELF if a % 2 else b, 0),
    "interdomain": lambda d, a, b: event(d, ec.EVTCHNOP_bind_interdomain, "=HxxII", DOMID_SELF, a, 0),
    "close": lambda d, a, b: event(d, ec.EVTCHNOP_close, "=I", a),
    "send": lambda d, a, b: event(d, ec.EVTCHNOP_send, "=I", a),
    "unmask": lambda d, a, b: event(d, ec.EVTCHNOP_unmask, "=I", a),
    "priority": lambda d, a, b: event(d, ec.EVTCHNOP_set_priority, "=II", a, b),
    "status": lambda d, a, b: event(d, ec.EVTCHNOP_status, "=HxxIIIII", DOMID_SELF, a, 0, 0, 0, 0),
    "control": lambda d, a, b: event(d, ec.EVTCHNOP_init_control, "=QIIQ", d.mfn(CONTROL), 64 * b, 0, 0),
    "array": lambda d, a, b: event(d, ec.EVTCHNOP_expand_array, "=Q", d.mfn(ARRAY)),
    "fifo": lambda d, a, b: fifo(d),
    "reset": lambda d, a, b: event(d, ec.EVTCHNOP_reset, "=H", DOMID_SELF) if a + b == 0 else None,
    "post": lambda d, a, b: d.post(a),
    "mailbox": lambda d, a, b: d.apply_mailbox(),
    "mask": lambda d, a, b: d.mask(a),
    "acknowledge": lambda d, a, b: d.acknowledge(a),
    "upcall": lambda d, a, b: d.acknowledge_upcall(),
    "word": lambda d, a, b: d.write(BASE + ARRAY * PAGE + 4 * a, struct.pack("=I", 0)),
    "advance": lambda d, a, b: d.advance(a * 7 * MS + b),
    "fire": lambda d, a, b: d.fire(),
    "timer": lambda d, a, b: d.call(Hypercall.SET_TIMER_OP, d.now + a * MS),
    "periodic": lambda d, a, b: vcpu_op(d, vc.VCPUOP_set_periodic_timer, "=Q", (a + 1) * MS),
    "stop": lambda d, a, b: vcpu_op(d, vc.VCPUOP_stop_periodic_timer),
    "poll": poll,
    "watchdog": lambda d, a, b: d.call(
        Hypercall.SCHED_OP, sched.SCHEDOP_watchdog, argument(d, "=II", a % 3, 1000 + b if b else 0)
    ),
    "info": lambda d, a, b: vcpu_op(d, vc.VCPUOP_register_vcpu_info, "=QII", d.mfn(INFO), INFO_OFFSET, 0),
    "runstate": lambda d, a, b: vcpu_op(d, vc.VCPUOP_register_runstate_memory_area, "=Q", BASE + RUNSTATE * PAGE),
    "state": lambda d, a, b: d.runstate(a % 3),
    "time": lambda d, a, b: vcpu_op(d, vc.VCPUOP_register_vcpu_time_memory_area, "=Q", BASE + TIME * PAGE),
    "assist": lambda d, a, b: d.call(Hypercall.VM_ASSIST, a % 2, b % 6),
    "debug": lambda d, a, b: (d.call(Hypercall.SET_DEBUGREG, a % 4, b << 12), d.call(Hypercall.GET_DEBUGREG, a % 4)),
    "base": lambda d, a, b: d.call(Hypercall.SET_SEGMENT_BASE, a % 3, b << 12),
    "stack": lambda d, a, b: d.call(Hypercall.STACK_SWITCH, 0xE02B, BASE + a * PAGE),
    "fpu": lambda d, a, b: d.call(Hypercall.FPU_TASKSWITCH, a % 2),
    "read-only": lambda d, a, b: pages(d, TABLE, False),
    "writable": lambda d, a, b: pages(d, TABLE, True),
    "pin": lambda d, a, b: pin(d, xen.MMUEXT_PIN_L1_TABLE, TABLE),
    "unpin": lambda d, a, b: pin(d, xen.MMUEXT_UNPIN_TABLE, TABLE),
    "entry": lambda d, a, b: d.write(BASE + TABLE * PAGE + 8 * a, struct.pack("=Q", d.mfn(DATA + b % 4) << 12 | 0x61)),
    "data": lambda d, a, b: d.write(BASE + DATA * PAGE + 64 * a, bytes([b]) * 64),
    "grants": lambda d, a, b: grant_table(d, 1 + a % 3),
    "version": lambda d, a, b: grant_version(d, 1 + a % 2),
}
# A store that faults in a guest is none that the test may make.
WRITES_TABLE = {"entry"}


def run(domain: StillDomain, operations: list[Operation]) -> list[object]:
    seen: list[object] = []
    for name, a, b in operations:
        if name in WRITES_TABLE and domain.frame(domain.mfn(TABLE))[1] and domain.frame(domain.mfn(TABLE))[2] == 1:
            continue
        seen.append((name, DO[name](domain, a, b), domain.now, domain.upcall_pending, domain.blocked))
    return seen


def without(data: bytes, start: int, length: int) -> bytes:
    return data[:start] + data[start + length :]


def view(domain: StillDomain) -> object:
    """All that a guest can see of its domain, but for the words by which it works out the time, and what Xen counts."""
    shared = domain.shared_info[32 * 64 : 32 * 64 + 1024]
    memory = [domain.read(BASE + page * PAGE, PAGE) for page in range(PAGES)]
    memory[INFO] = without(memory[INFO], INFO_OFFSET + 32, 32)
    memory[TIME] = without(memory[TIME], 0, 32)
    frames = []
    for page in range(PAGES + 4):
        refs, type_refs, kind, owner = domain.frame(domain.mfn(page))
        frames.append((refs, type_refs, kind if type_refs else 0, owner))
    ports = [DO["status"](domain, port, 0) for port in range(1, 40)]
    upcall = domain.upcall_pending, domain.upcall_mask, domain.pending_sel
    timed = domain.now, domain.tsc, domain.blocked, domain.vm_assist, domain.shutdown
    return shared, memory, frames, ports, upcall, timed, domain.audit()


small = st.integers(0, 12)
operations = st.lists(st.tuples(st.sampled_from(sorted(DO)), small, small), max_size=40)


@settings(max_examples=60, deadline=None)
@given(operations, operations)
def test_a_domain_that_was_saved_in_the_middle_of_its_life_is_the_same(
    before: list[Operation], after: list[Operation]
) -> None:
    def restore(old: StillDomain, state: SavedStill) -> StillDomain:
        old.destroy()
        return StillDomain(saved=state)

    check(
        StillDomain,
        lambda domain: (run(domain, before), view(domain)),
        StillDomain.save,
        restore,
        lambda domain: (view(domain), run(domain, after), view(domain)),
    )
