"""A domain as a client: its conversation carried by its ring."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import thread_time

from xenia.abi.xs_wire import RingError
from xenia.rings.fault import RingFault
from xenia.xenstore.connection import Connection
from xenia.xenstore.conversation import Conversation
from xenia.xenstore.error import ProtocolError
from xenia.xenstore.persist import GuestClientState
from xenia.xenstore.ring import StoreRing
from xenia.xenstore.store import Store

_log = logging.getLogger(__name__)

# A level of logging and a line.
Complain = Callable[[int, str], None]


class GuestClient:
    """Serves one domain's xenstore page.  A guest that breaks the protocol is told so in the page and not served
    until it reconnects."""

    # How often one `service` goes to the ring at the most, however busy the guest keeps it, and for how many seconds.
    PASSES = 4
    TURN = 0.001

    def __init__(
        self,
        store: Store,
        connection: Connection,
        page: memoryview,
        notify: Callable[[], None],
        complain: Complain = _log.log,
        state: GuestClientState | None = None,
    ) -> None:
        """`complain` is told what the guest did wrong; it may be again and again.  `state`: of the client that goes on
        in this one."""
        self.connection = connection
        self._complain = complain
        self._complained = state is not None and state.complained
        self._conversation = Conversation(store, connection, state.conversation if state is not None else None)
        self._ring = StoreRing(page)
        self._ring.announce()
        self._notify = notify
        self._fault: RingError | None = RingError(state.fault) if state is not None and state.fault else None

    def restart(self) -> None:
        """Begin anew, as after a reconnection that the guest asked for."""
        self._reconnect()
        self._notify()

    def save(self) -> GuestClientState:
        """What one made later needs to go on, besides the connection and the page."""
        return GuestClientState(self._conversation.save(), int(self._fault or 0), self._complained)

    def close(self) -> None:
        self._ring.close()

    def service(self) -> bool:
        """Take requests, answer them, notify the guest if anything moved.  Answers whether there may be more to do
        right now; if not, the guest will notify when there is."""
        moved = self._reconnect() if self._ring.reconnect_requested else False
        busy = self._fault is None
        until = thread_time() + self.TURN
        try:
            for _ in range(self.PASSES if busy else 0):
                busy = self._pass(until)
                moved |= busy
                if not busy or thread_time() >= until:
                    break
        except RingFault as fault:
            moved, busy = self._fail(RingError.RINGIDX, fault), False
        except ProtocolError as fault:
            moved, busy = self._fail(RingError.PROTO, fault), False
        if moved:
            self._notify()
        return busy

    def _pass(self, until: float) -> bool:
        """Once to the ring and back; answers whether bytes moved."""
        conversation = self._conversation
        data = self._ring.requests.take() if conversation.hungry else b""
        conversation.receive(data)
        conversation.pump(until)
        output = conversation.output()
        count = self._ring.responses.put(output) if output else 0
        conversation.sent(count)
        return bool(data or count)

    def _reconnect(self) -> bool:
        self._conversation.restart()
        self._ring.reconnect()
        self._fault = None
        return True

    def _fail(self, error: RingError, fault: Exception) -> bool:
        # Once aloud: a guest can go on with this for ever.
        level = logging.DEBUG if self._complained else logging.WARNING
        self._complained = True
        self._complain(level, f"d{self.connection.identity.domid}: xenstore ring not served any more: {fault}")
        self._fault = error
        self._conversation.restart()
        self._ring.fail(error)
        return True
