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

from xenia.net.forwarding import Switch
from xenia.net.policer import Policer
from xenia.net.port import Port

DROPS: int
FLOODS: int
MOST_ADDRESSES: int
AGE: int

class LearnedAddress:
    """A MAC address that a bridge knows.  `age`: seconds since it sent its last frame; none: it is static."""

    ...
    mac: str
    vlan: int
    port: str
    age: float | None

class PortStatistics:
    """What went through a bridge's port: frames that who is at it sent, and that were delivered to it.

    flooded   of those sent: to everybody
    dropped   of those sent, by the reason; `untaken`: of those delivered, whatever a joined port had no room for
    """

    ...
    name: str
    sent: int
    sent_bytes: int
    delivered: int
    delivered_bytes: int
    flooded: int
    addresses: int
    dropped: dict[str, int]

class BridgePort(Port):
    """A port of a bridge; `Bridge.port` makes it."""
    @property
    def name(self) -> str: ...
    def __init__(self) -> None: ...
    def close(self) -> None:
        """Take it out of the bridge, which forgets its addresses.  Whoever is at it is left alone first."""
        ...
    def statistics(self) -> PortStatistics:
        """What went through it."""
        ...

class Bridge(Switch):
    """A switch.  `age`: after how many seconds an address is forgotten that sends nothing."""
    def __init__(self, age: float = ...) -> None: ...
    @property
    def ports(self) -> list[BridgePort]:
        """Its ports, the oldest first."""
        ...
    def port(
        self,
        name: str,
        *,
        macs: Iterable[str] = ...,
        vlan: int = 0,
        trunk: Iterable[int] | str = ...,
        isolated: bool = False,
        mirror: bool = False,
        unanswered: bool = False,
        most_addresses: int = ...,
        floods: int = ...,
        policer: Policer | None = None,
    ) -> BridgePort:
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
        ...
    def join(self, port: Port, name: str, **options: object) -> Joint:
        """Plug another port into a port of that name, made as `port` makes it.  Precondition: nobody is at `port`."""
        ...
    def addresses(self) -> list[LearnedAddress]:
        """Those that it knows, those of the oldest port first."""
        ...

class Joint:
    """Two ports plugged into each other; `Bridge.join` makes it.  What one does not take, the other drops."""
    @property
    def inner(self) -> BridgePort: ...
    @property
    def outer(self) -> Port: ...
    def __init__(self, inner: BridgePort, outer: Port) -> None: ...
    def close(self) -> None:
        """Unplug them; both may be used again or closed, but the bridge's is closed here.  Again does nothing."""
        ...

def mac_number(mac: str) -> int:
    """Of 00:16:3e:12:34:56.  ConfigError: it is none, or one of several."""
    ...

def mac_text(number: int) -> str:
    """Of a number, of which what is above 48 bits says nothing."""
    ...

def checked_vlan(number: int, least: int) -> int:
    """A VLAN's number.  ConfigError: it cannot be one."""
    ...
