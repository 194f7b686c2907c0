"""One client of the store, whatever carries its bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from xenia.abi.xs_wire import XENSTORE_PAYLOAD_MAX
from xenia.xenstore.path import Path, domain_path
from xenia.xenstore.permissions import Identity
from xenia.xenstore.persist import ConnectionState, NodeTable
from xenia.xenstore.transaction import Transaction
from xenia.xenstore.tree import Node
from xenia.xenstore.watch import Watch


class Connection:
    """What the store keeps for a client: who it is, its watches and transactions, and the events it has not taken
    yet."""

    def __init__(self, domid: int) -> None:
        self.identity = Identity(domid)
        # Where its relative paths begin.
        self.base: Path = domain_path(domid)
        self.nr_watches = 0
        self.transactions: dict[int, Transaction] = {}
        self._last_transaction = 0
        # Waiting (path, token) pairs in order; one pair waits once, however often it happens.
        self._events: dict[tuple[bytes, bytes], None] = {}

    def save(self, nodes: NodeTable) -> ConnectionState:
        """What one made later needs to go on, its watches aside."""
        return ConnectionState(
            domid=self.identity.domid,
            target=self.identity.target,
            transactions={number: one.save(nodes) for number, one in self.transactions.items()},
            last_transaction=self._last_transaction,
            events=tuple(self._events),
        )

    @classmethod
    def restore(cls, nodes: Sequence[Node], state: ConnectionState) -> Connection:
        """That connection, without its watches."""
        connection = cls(state.domid)
        connection.identity = Identity(state.domid, state.target)
        connection.transactions = {
            number: Transaction.restore(nodes, one) for number, one in state.transactions.items()
        }
        connection._last_transaction = state.last_transaction
        connection._events = dict.fromkeys(state.events)
        return connection

    def new_transaction_id(self) -> int:
        """A 32-bit number, not 0, that none of its open transactions has."""
        while True:
            self._last_transaction = self._last_transaction % 0xFFFFFFFF + 1
            if self._last_transaction not in self.transactions:
                return self._last_transaction

    def tell(self, watch: Watch, path: Path | None, limit: int) -> None:
        """Keep an event for the client; beyond `limit`, or where the message would be too long, it hears of the
        watched name (None) instead of the path."""
        told = watch.own_name
        if path is not None and path is not watch.name and len(self._events) < limit:
            spelt = watch.spelt(path)
            if len(spelt) + len(watch.token) + 2 <= XENSTORE_PAYLOAD_MAX:
                told = spelt
        self._events[told, watch.token] = None

    @property
    def has_events(self) -> bool:
        return bool(self._events)

    def take_events(self, most: int) -> Iterator[tuple[bytes, bytes]]:
        """Up to `most` waiting events, oldest first, as (path, token); they are the caller's now."""
        for event in list(islice(self._events, most)):
            del self._events[event]
            yield event

    def forget_events(self) -> None:
        self._events.clear()
