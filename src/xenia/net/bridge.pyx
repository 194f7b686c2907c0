"""A switch in this process: frames that are sent into one of its ports come out of another, untouched.

Theory of operation.  A sender's thread looks up, under the lock, where each frame of its batch goes, and enters the
ports that it has chosen (port.pxd: whoever leaves a port waits until those who entered it are gone).  It lets go of the
lock, delivers, and leaves them.  So a frame from guest to guest is copied once, by the receiving card, on the sender's
thread; no port waits for another; and a port may be closed at any moment.  Who is at a port takes a frame or drops it.

A port has one VLAN for untagged frames and a set of those whose frames are tagged (IEEE 802.1Q); by default no number
and none, so that a tag that somebody puts on his frames leads nowhere.  Frames are changed only where the tag must
come or go.

What a sender can do to others is bounded: its port has only so many addresses (addresses.pyx), and it has only so many
frames a second copied to everybody; what it sends a guest that does not answer may be limited, too (policer.pyx).
"""

from collections.abc import Iterable
from dataclasses import dataclass

from libc.stdint cimport int64_t, uint32_t, uint64_t
from xenia.machine.lock cimport lock, unlock
from xenia.net.addresses cimport NOWHERE, Address, Addresses, is_static
from xenia.net.forwarding cimport (
    DROP_UNTAKEN, MOST_MIRRORS, MOST_PORTS, NR_VLANS, Member, Switch,
)
from xenia.net.frame cimport Frame
from xenia.machine.loop cimport monotonic
from xenia.net.policer cimport PEERS, Policer
from xenia.net.port cimport Port, Receiver

from xenia.errors import ConfigError

DROPS = ("malformed", "reserved", "vlan", "moved", "limit", "isolated", "nobody", "unanswered", "depth", "untaken")
FLOODS = 5000           # frames for everybody that a port may send in a second
MOST_ADDRESSES = 256    # that are known of a port
AGE = 300.0             # seconds


@dataclass(frozen=True)
class LearnedAddress:
    """A MAC address that a bridge knows.  `age`: seconds since it sent its last frame; none: it is static."""

    mac: str
    vlan: int
    port: str
    age: float | None


@dataclass(frozen=True)
class PortStatistics:
    """What went through a bridge's port: frames that who is at it sent, and that were delivered to it.

    flooded   of those sent: to everybody
    dropped   of those sent, by the reason; `untaken`: of those delivered, whatever a joined port had no room for
    """

    name: str
    sent: int
    sent_bytes: int
    delivered: int
    delivered_bytes: int
    flooded: int
    addresses: int
    dropped: dict[str, int]


cdef class BridgePort(Port):
    """A port of a bridge; `Bridge.port` makes it."""

    def __init__(self) -> None:
        raise TypeError("Bridge.port makes a bridge's ports")

    def close(self) -> None:
        """Take it out of the bridge, which forgets its addresses.  Whoever is at it is left alone first."""
        with nogil:
            self.detach()
        self.bridge.leave(self)

    def statistics(self) -> PortStatistics:
        """What went through it."""
        cdef Member seen
        with nogil:
            lock(&self.bridge.lock)
            seen = self.member
            unlock(&self.bridge.lock)
        dropped = {name: seen.drops[reason] for reason, name in enumerate(DROPS) if seen.drops[reason]}
        return PortStatistics(self.name, seen.sent, seen.sent_bytes, seen.delivered, seen.delivered_bytes,
                              seen.flooded, seen.owner.count, dropped)

    cdef int send(self, Frame *frames, int count) noexcept nogil:
        self.bridge.forward(&self.member, frames, count)
        return count


cdef class Bridge(Switch):
    """A switch.  `age`: after how many seconds an address is forgotten that sends nothing."""

    def __init__(self, age: float = AGE) -> None:
        self.table = Addresses(age)
        self.members_by_name = {}

    @property
    def ports(self) -> list[BridgePort]:
        """Its ports, the oldest first."""
        return list(self.members_by_name.values())

    def port(self, name: str, *, macs: Iterable[str] = (), vlan: int = 0, trunk: Iterable[int] | str = (),
             isolated: bool = False, mirror: bool = False, unanswered: bool = False,
             most_addresses: int = MOST_ADDRESSES, floods: int = FLOODS, policer: Policer | None = None) -> BridgePort:
        """Another port.  ConfigError: the name is taken, or what is asked for cannot be.

        macs            are there for good: nobody else can have them
        vlan            of untagged frames; 0: that of no number
        trunk           the VLANs whose frames are tagged here, or "all"
        isolated        exchanges frames only with ports that are not
        mirror          is given everything that is sent into any port, and sends nothing
        unanswered      is sent what its guest does not answer, however much
        most_addresses  that are learnt of it
        floods          frames for everybody (broadcast, multicast, of unknown addresses) that it may send in a second
        policer         is a guest's: what it sends others of these that is not answered is limited, and so is theirs
        """
        cdef BridgePort port = BridgePort.__new__(BridgePort)
        cdef Member *member = &port.member
        cdef list fixed = [mac_number(mac) for mac in macs]
        if isinstance(trunk, str) and trunk != "all":
            raise ConfigError(f"'{trunk}' is no trunk: say all, or numbers of VLANs")
        allowed = range(1, NR_VLANS - 1) if trunk == "all" else trunk
        port.name, port.bridge = name, self
        if policer is not None:
            port.policer, member.policer = policer, <void *>policer
            port.policer.takes_all = unanswered
        member.inside, member.receiver = &port.inside, &port.receiver
        member.owner.newest = member.owner.oldest = NOWHERE
        member.owner.most, member.flood_interval = max(most_addresses, 1), 1000000000 // max(floods, 1)
        member.isolated, member.mirror, member.vlan = isolated, mirror, checked_vlan(vlan, 0)
        for number in allowed:
            member.allowed[checked_vlan(number, 1) // 8] |= 1 << number % 8
        self.enter(port, fixed)
        return port

    def join(self, Port port not None, name: str, **options: object) -> Joint:
        """Plug another port into a port of that name, made as `port` makes it.  Precondition: nobody is at `port`."""
        return Joint(self.port(name, **options), port)

    def addresses(self) -> list[LearnedAddress]:
        """Those that it knows, those of the oldest port first."""
        cdef uint32_t index
        cdef Address entry
        cdef int64_t now = monotonic()
        cdef Addresses table = self.table
        found = {name: [] for name in self.members_by_name}
        names = {<size_t>&(<BridgePort>port).member: port.name for port in self.ports}
        for index in range(table.room):
            with nogil:
                lock(&self.lock)
                entry = table.entries[index]
                unlock(&self.lock)
            if entry.owner == NULL or not (is_static(&entry) or entry.seen + table.age >= now):
                continue
            name = names.get(<size_t>entry.owner)
            if name is not None:
                age = None if is_static(&entry) else (now - entry.seen) / 1e9
                found[name].append(LearnedAddress(mac_text(entry.key), entry.key >> 48, name, age))
        return [address for addresses in found.values() for address in sorted(addresses, key=lambda each: each.mac)]

    cdef enter(self, BridgePort port, list fixed):
        cdef Member *member = &port.member
        cdef uint64_t key
        cdef bint known
        if port.name in self.members_by_name:
            raise ConfigError(f"the network has a port '{port.name}' already: give this one another name")
        if self.nr_members == MOST_PORTS:
            raise ConfigError(f"the network has {MOST_PORTS} ports, which is all it can have: take one out first")
        if member.mirror and self.nr_mirrors == MOST_MIRRORS:
            raise ConfigError(f"the network has {MOST_MIRRORS} mirror ports already: take one out first")
        port.promised = member.owner.most + len(fixed)
        with nogil:
            lock(&self.lock)
            self.last_number += 1
            member.number = self.last_number
            known = self.table.grow(self.promised + port.promised)
            if known:
                self.promised += port.promised
                self.find_place(member)
                self.members[self.nr_members] = member
                self.nr_members += 1
                self.nr_mirrors += member.mirror
                member.joined = True
            unlock(&self.lock)
        if not known:
            raise MemoryError
        self.members_by_name[port.name] = port
        for mac in fixed:
            key = mac | <uint64_t>member.vlan << 48
            with nogil:
                lock(&self.lock)
                known = self.table.fix(key, &member.owner)
                unlock(&self.lock)
            if not known:
                port.close()
                raise ConfigError(f"the network has the MAC {mac_text(mac)} already: give this card another one")

    cdef void find_place(self, Member *member) noexcept nogil:
        """One that none of the others has, as long as there are."""
        cdef uint64_t taken = 0
        cdef int index
        member.place = 0
        for index in range(self.nr_members):
            taken |= <uint64_t>1 << self.members[index].place
        while taken >> member.place & 1 and member.place < PEERS - 1:
            member.place += 1
        for index in range(self.nr_members):
            if self.members[index].policer != NULL:
                (<Policer>self.members[index].policer).forget(member.place)

    cdef leave(self, BridgePort port):
        cdef Member *member = &port.member
        cdef int index = 0
        with nogil:
            lock(&self.lock)
            if member.joined:
                member.joined = False
                while self.members[index] != member:
                    index += 1
                self.nr_members -= 1
                self.nr_mirrors -= member.mirror
                for index in range(index, self.nr_members):
                    self.members[index] = self.members[index + 1]
                self.promised -= port.promised
                self.table.forget_all(&member.owner)
            unlock(&self.lock)
        if self.members_by_name.get(port.name) is port:
            del self.members_by_name[port.name]


cdef class Joint:
    """Two ports plugged into each other; `Bridge.join` makes it.  What one does not take, the other drops."""

    def __init__(self, BridgePort inner not None, Port outer not None) -> None:
        cdef Receiver receiver
        self.inner, self.outer = inner, outer
        receiver.self, receiver.deliver, receiver.ready = <void *>self, go_out, do_nothing
        inner.attach(&receiver)
        receiver.deliver = come_in
        outer.attach(&receiver)
        inner.joint = self

    def close(self) -> None:
        """Unplug them; both may be used again or closed, but the bridge's is closed here.  Again does nothing."""
        if self.outer is not None:
            with nogil:
                self.outer.detach()
            self.inner.close()
            self.outer = self.inner.joint = None


cdef void go_out(void *joint, Frame *frames, int count) noexcept nogil:
    cdef int taken = (<Joint>joint).outer.send(frames, count)
    if taken < count:
        (<Joint>joint).inner.bridge.count_drops(&(<Joint>joint).inner.member, DROP_UNTAKEN, count - taken)


cdef void come_in(void *joint, Frame *frames, int count) noexcept nogil:
    (<Joint>joint).inner.send(frames, count)


cdef void do_nothing(void *joint) noexcept nogil:
    pass


def mac_number(mac: str) -> int:
    """Of 00:16:3e:12:34:56.  ConfigError: it is none, or one of several."""
    pairs = mac.split(":")
    try:
        number = int.from_bytes(bytes([int(pair, 16) for pair in pairs]), "big")
    except ValueError:
        number = 0
    if len(pairs) != 6 or not number or number >> 40 & 1:
        raise ConfigError(f"'{mac}' is no card's MAC address: it is to look like 00:16:3e:12:34:56")
    return number


def mac_text(number: int) -> str:
    """Of a number, of which what is above 48 bits says nothing."""
    return (number & ((1 << 48) - 1)).to_bytes(6, "big").hex(":")


def checked_vlan(number: int, least: int) -> int:
    """A VLAN's number.  ConfigError: it cannot be one."""
    if not least <= number < NR_VLANS - 1:
        raise ConfigError(f"there is no VLAN {number}: it is to be from {least} to {NR_VLANS - 2}")
    return number
