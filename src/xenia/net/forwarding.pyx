"""Where a bridge's frames go: the part of it that is on their way.

A batch has a plan, which is made under the bridge's lock: for each frame its fate, and which ports are entered for it.
Frames of the same fate that follow on each other are a run, and delivered in one call.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t
from xenia.machine.lock cimport RANK_BRIDGE, lock, lock_init, unlock
from xenia.net.addresses cimport IS_ANOTHERS, Learned, Owner
from xenia.net.frame cimport BATCH, LEAST_BYTES, Frame
from xenia.machine.loop cimport monotonic
from xenia.net.pace cimport pace_allows
from xenia.net.parse cimport big16, big32
from xenia.net.policer cimport Policer, is_answer
from xenia.net.port cimport port_enter, port_leave
from xenia.net.retag cimport KEEP, TAG_VLAN, Change, Tag, change_for, deliver_changed, tag_of
from xenia.net.share cimport waste

cdef enum:
    DEEPEST = 4                     # bridges that a frame may come through on one thread
    BURST = 1000                    # frames for everybody that may come at once
    RESERVED = 0x0180C200           # with 00 and a last digit: addresses that no bridge passes on (IEEE 802.1D, 7.12.6)

cdef extern from *:
    """
    static __thread int bridge_depth;
    static int deeper(int by)
    {
        return bridge_depth += by;
    }
    """
    int deeper(int by) noexcept nogil           # how many bridges this thread is in

cdef enum Fate:
    MALFORMED                       # dropped; a mirror is not given it either
    DROPPED
    UNICAST
    FLOOD

cdef struct Plan:
    int64_t now
    int depth
    Fate fate[BATCH]
    Tag tag[BATCH]
    uint16_t vlan[BATCH]
    Member *target[BATCH]           # of UNICAST, else NULL
    uint64_t sender                 # key of the last one's
    Learned learned                 # what was said of it
    bint floods
    Member *crowd[MOST_PORTS]       # entered, for frames to everybody
    int takes[MOST_PORTS]           # how many of these each of them may be sent yet
    int nr_crowd
    Member *mirrors[MOST_MIRRORS]   # entered
    int nr_mirrors


cdef class Switch:
    """What a bridge is to the frames that go through it."""

    def __cinit__(self):
        lock_init(&self.lock, RANK_BRIDGE)

    cdef void count_drops(self, Member *member, int reason, int count) noexcept nogil:
        lock(&self.lock)
        member.drops[reason] += count
        waste(count)
        unlock(&self.lock)

    cdef void forward(self, Member *source, Frame *frames, int count) noexcept nogil:
        cdef Plan plan
        cdef int index, first = 0, failed = 0
        plan.depth = deeper(1)
        plan.now, plan.sender, plan.floods, plan.nr_crowd, plan.nr_mirrors = monotonic(), 0, False, 0, 0
        lock(&self.lock)
        for index in range(count):
            frames[index].port = source.number
            plan_frame(self, source, &plan, frames, index)
        if plan.floods or self.nr_mirrors:
            enter_many(self, source, &plan)
        count_floods(source, &plan, frames, count)
        unlock(&self.lock)
        for index in range(1, count + 1):
            if index == count or not is_same_run(&plan, first, index):
                failed += deliver_run(source, &plan, first, &frames[first], index - first)
                first = index
        for index in range(plan.nr_crowd):
            port_leave(plan.crowd[index].inside)
        for index in range(plan.nr_mirrors):
            port_leave(plan.mirrors[index].inside)
        deeper(-1)
        if failed:
            self.count_drops(source, DROP_VLAN, failed)


cdef void plan_frame(Switch it, Member *source, Plan *plan, const Frame *frames, int index) noexcept nogil:
    cdef const Frame *frame = &frames[index]
    cdef Member *target
    cdef int reason = fate(it, source, plan, frame, index)
    source.sent += 1
    source.sent_bytes += frame.length
    if reason >= 0:
        plan.fate[index] = MALFORMED if reason == DROP_MALFORMED else DROPPED
        source.drops[reason] += 1
        waste(1)
    elif plan.fate[index] == FLOOD:
        if not pace_allows(&source.flood, plan.now, source.flood_interval, BURST):
            plan.fate[index] = DROPPED
            source.drops[DROP_LIMIT] += 1
            waste(1)
            return
        source.flooded += 1
        plan.floods = True
    else:
        target = plan.target[index]
        if not is_allowed(source, target, frame, plan.now):
            plan.fate[index], plan.target[index] = DROPPED, NULL
            source.drops[DROP_UNANSWERED] += 1
            (<Policer>source.policer).lose(plan.now)
            waste(1)
            return
        if not (index and is_same_run(plan, index - 1, index)) and not port_enter(target.inside):
            plan.fate[index], plan.target[index] = DROPPED, NULL
            source.drops[DROP_NOBODY] += 1
            waste(1)
            return
        target.delivered += 1
        target.delivered_bytes += frame.length


# Whether one guest may send another that; and it is an answer to what that one sent.
cdef bint is_allowed(const Member *source, const Member *target, const Frame *frame, int64_t now) noexcept nogil:
    if source.policer == NULL:
        return True
    if is_answer(frame):
        (<Policer>source.policer).answer(target.place, now)
    return target.policer == NULL or (<Policer>target.policer).allow(source.place, now)


# A frame's: FLOOD, or UNICAST with its target.  Or why it is dropped, if that is not -1.
cdef int fate(Switch it, Member *source, Plan *plan, const Frame *frame, int index) noexcept nogil:
    cdef const uint8_t *bytes
    cdef Owner *owner
    cdef Member *target
    cdef int tag
    plan.tag[index], plan.vlan[index], plan.target[index] = TAG_VLAN, 0, NULL
    if frame.nr_parts == 0 or frame.length < LEAST_BYTES:
        return DROP_MALFORMED
    bytes = <const uint8_t *>frame.parts[0].iov_base
    tag = tag_of(frame, &plan.vlan[index])
    if tag < 0 or bytes[6] & 1 or not (big32(bytes + 6) or big16(bytes + 10)):
        return DROP_MALFORMED
    plan.tag[index] = <Tag>tag
    if tag != TAG_VLAN:
        plan.vlan[index] = source.vlan
    elif not source.allowed[plan.vlan[index] // 8] & 1 << plan.vlan[index] % 8:
        return DROP_VLAN
    if big32(bytes) == RESERVED and bytes[4] == 0 and bytes[5] & 0xF0 == 0:
        return DROP_RESERVED
    if source.mirror or not source.joined:
        return DROP_ISOLATED
    if plan.depth > DEEPEST:
        return DROP_DEPTH
    if not knows(it, source, plan, key_of(bytes + 6, plan.vlan[index])):
        return DROP_MOVED
    plan.fate[index] = FLOOD
    owner = NULL if bytes[0] & 1 else it.table.find(key_of(bytes, plan.vlan[index]), plan.now)
    if owner != NULL:
        target = <Member *>owner
        if target == source or not is_reachable(source, target, plan.vlan[index]):
            return DROP_ISOLATED
        plan.fate[index], plan.target[index] = UNICAST, target
    return -1


# Learns where the sender is.  False: it is another port's for good.
cdef bint knows(Switch it, Member *source, Plan *plan, uint64_t key) noexcept nogil:
    if key != plan.sender:
        plan.sender, plan.learned = key, it.table.learn(key, &source.owner, plan.now)
    return plan.learned != IS_ANOTHERS


cdef void enter_many(Switch it, Member *source, Plan *plan) noexcept nogil:
    cdef Member *member
    cdef int index
    for index in range(it.nr_members):
        member = it.members[index]
        if member == source or not (member.mirror or plan.floods) or not port_enter(member.inside):
            continue
        if member.mirror:
            plan.mirrors[plan.nr_mirrors] = member
            plan.nr_mirrors += 1
        else:
            plan.crowd[plan.nr_crowd] = member
            plan.nr_crowd += 1


cdef inline uint64_t key_of(const uint8_t *mac, uint16_t vlan) noexcept nogil:
    return <uint64_t>vlan << 48 | <uint64_t>big16(mac) << 32 | big32(mac + 2)


cdef bint is_reachable(const Member *source, const Member *target, uint16_t vlan) noexcept nogil:
    if source.isolated and target.isolated:
        return False
    return vlan == target.vlan or target.allowed[vlan // 8] & 1 << vlan % 8


cdef bint is_same_run(const Plan *plan, int one, int other) noexcept nogil:
    return (plan.fate[one] == plan.fate[other] and plan.target[one] == plan.target[other]
            and plan.vlan[one] == plan.vlan[other] and plan.tag[one] == plan.tag[other])


# Of a batch, who may not be sent one frame may not be sent those after it either.  What no guest may be sent is lost.
cdef void count_floods(Member *source, Plan *plan, const Frame *frames, int count) noexcept nogil:
    cdef int index, one, refused, lost = -1
    cdef Member *member
    if not plan.floods:
        return
    for one in range(plan.nr_crowd):
        member, plan.takes[one], refused = plan.crowd[one], 0, 0
        for index in range(count):
            if plan.fate[index] != FLOOD or not is_reachable(source, member, plan.vlan[index]):
                continue
            if source.policer != NULL and member.policer != NULL and not (
                    <Policer>member.policer).allow(source.place, plan.now):
                source.drops[DROP_UNANSWERED] += 1
                refused += 1
                continue
            plan.takes[one] += 1
            member.delivered += 1
            member.delivered_bytes += frames[index].length
        if source.policer != NULL and member.policer != NULL and refused + plan.takes[one]:
            lost = refused if lost < 0 else min(lost, refused)
    for _ in range(lost):
        (<Policer>source.policer).lose(plan.now)
        waste(1)


# How many frames could not be delivered.
cdef int deliver_run(Member *source, Plan *plan, int first, Frame *frames, int count) noexcept nogil:
    cdef Member *member
    cdef int index, takes, failed = 0
    if plan.fate[first] != MALFORMED:
        for index in range(plan.nr_mirrors):
            member = plan.mirrors[index]
            member.receiver.deliver(member.receiver.self, frames, count)
    if plan.fate[first] == UNICAST:
        member = plan.target[first]
        failed = deliver_to(member, plan.tag[first], plan.vlan[first], frames, count)
        port_leave(member.inside)
    elif plan.fate[first] == FLOOD:
        for index in range(plan.nr_crowd):
            member, takes = plan.crowd[index], min(count, plan.takes[index])
            if takes and is_reachable(source, member, plan.vlan[first]):
                plan.takes[index] -= takes
                failed += deliver_to(member, plan.tag[first], plan.vlan[first], frames, takes)
    return failed


cdef int deliver_to(Member *member, Tag tag, uint16_t vlan, Frame *frames, int count) noexcept nogil:
    cdef Change change = change_for(tag, vlan, member.vlan)
    if change != KEEP:
        return deliver_changed(member.receiver, frames, count, change, vlan)
    member.receiver.deliver(member.receiver.self, frames, count)
    return 0
