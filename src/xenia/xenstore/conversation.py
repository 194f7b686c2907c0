"""The conversation with one client, whatever carries it: bytes in, bytes out.

A client that does not take its replies is not answered further: once `quota.outstanding` messages wait for it, its
requests stay where they are.  So a conversation holds a bounded amount of memory, whatever the client does.
"""

from __future__ import annotations

from collections import deque
from math import inf
from time import thread_time

from xenia.xenstore.connection import Connection
from xenia.xenstore.persist import ConversationState
from xenia.xenstore.reply import reply
from xenia.xenstore.store import Store
from xenia.xenstore.wire import Need, Parser, watch_event


class Conversation:
    """One connection of a store with the two byte streams that belong to it."""

    def __init__(self, store: Store, connection: Connection, state: ConversationState | None = None) -> None:
        """`state`: of the conversation that goes on in this one."""
        self.store = store
        self.connection = connection
        self._parser = Parser(state.received, state.broken) if state is not None else Parser()
        self._unsent: deque[bytes] = deque(state.unsent if state is not None else ())
        # How much of the first unsent message is gone already.
        self._sent = state.sent if state is not None else 0

    def save(self) -> ConversationState:
        """What one made later needs to go on, besides the connection."""
        parser = self._parser
        return ConversationState(parser.unparsed, parser.failure, tuple(self._unsent), self._sent)

    def receive(self, data: bytes) -> None:
        """Take bytes of the client.  Precondition: `hungry`."""
        self._parser.feed(data)

    @property
    def hungry(self) -> bool:
        """Whether requests would be answered if they came: replies do not pile up."""
        return len(self._unsent) < self.store.quota.outstanding

    def pump(self, until: float = inf) -> None:
        """Answer what was received while replies do not pile up, with the client's events behind the replies that
        caused them.  No request is begun after `until`, of the thread's own time, but the first.

        Raises ProtocolError where the client's bytes are no message.
        """
        self._queue_events()
        while self.hungry:
            request = self._parser.poll()
            if isinstance(request, Need):
                return
            self._unsent.append(reply(self.store, self.connection, request).encode())
            self._queue_events()
            if until < inf and thread_time() >= until:
                return

    def output(self) -> bytes:
        """The bytes to send next, empty when there are none."""
        if not self._unsent:
            return b""
        whole = b"".join(self._unsent) if len(self._unsent) > 1 else self._unsent[0]
        return whole[self._sent :] if self._sent else whole

    def sent(self, count: int) -> None:
        """So many of the bytes of `output` are on their way."""
        self._sent += count
        while self._unsent and self._sent >= len(self._unsent[0]):
            self._sent -= len(self._unsent.popleft())

    def restart(self) -> None:
        """The client begins anew: drop what is under way in both directions, its watches and its transactions."""
        self._parser = Parser()
        self._unsent.clear()
        self._sent = 0
        self.store.reset(self.connection)

    def _queue_events(self) -> None:
        if self.connection.has_events:
            room = self.store.quota.outstanding - len(self._unsent)
            for path, token in self.connection.take_events(max(room, 0)):
                self._unsent.append(watch_event(path, token).encode())
