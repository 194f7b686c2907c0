"""What of the store outlives its process.

Trees share what they have in common, and whether they do decides whether a transaction conflicts; so nodes are saved
once each, in a table, and trees name them by their place in it.  Counts that quotas are held against are not saved but
counted again.  Who is connected otherwise than as a domain (a socket, a toolstack of this process) ends with the
process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xenia.persist import State
from xenia.xenstore.permissions import Permissions
from xenia.xenstore.tree import NO_CHILDREN, Node

# A node: its value, its permissions as the protocol writes them, its generation, its children by name.
NodeRow = tuple[bytes, tuple[str, ...], int, dict[str, int]]


@dataclass(frozen=True)
class TransactionState(State):
    """An open transaction; see transaction.py."""

    base: int  # the node that was the root when it began
    root: int
    depends: dict[str, int]  # path to Aspect
    written: dict[str, bool]
    named: tuple[str, ...]


@dataclass(frozen=True)
class WatchState(State):
    """A watch, as it was asked for."""

    connection: int
    name: str
    token: bytes
    relative: bool


@dataclass(frozen=True)
class ConnectionState(State):
    """A client, as the store knows it."""

    domid: int
    target: int | None
    transactions: dict[int, TransactionState]
    last_transaction: int
    events: tuple[tuple[bytes, bytes], ...]  # (path, token), not taken yet


@dataclass(frozen=True)
class IntroducedState(State):
    """A domain the store talks to."""

    connection: int
    is_shutdown: bool


@dataclass(frozen=True)
class StoreState(State):
    """All of a store.  Connections are named by their place in `connections`."""

    nodes: tuple[NodeRow, ...]
    root: int
    next_generation: int
    special_permissions: dict[str, tuple[str, ...]]
    connections: tuple[ConnectionState, ...]
    domains: dict[int, IntroducedState]
    watches: tuple[WatchState, ...]
    ready: tuple[int, ...]


@dataclass(frozen=True)
class ConversationState(State):
    """The two streams of a connection, with what is half sent either way."""

    received: bytes  # of a message that has not come whole, or waits for room for its reply
    broken: str | None  # why no more is understood
    unsent: tuple[bytes, ...]
    sent: int  # bytes of the first of them that are gone


@dataclass(frozen=True)
class GuestClientState(State):
    """A domain as a client; its page is its own memory."""

    conversation: ConversationState
    fault: int  # RingError that the page says; 0: it is served
    complained: bool


@dataclass(frozen=True)
class ServerState(State):
    """A store with the domains that it serves."""

    store: StoreState
    clients: dict[int, GuestClientState]  # by domid


class NodeTable:
    """Nodes that are being saved, each once, those below before those above."""

    def __init__(self) -> None:
        self._rows: list[NodeRow] = []
        self._places: dict[int, int] = {}  # by id; whoever saves holds the trees

    @property
    def rows(self) -> tuple[NodeRow, ...]:
        """What was put."""
        return tuple(self._rows)

    def put(self, root: Node) -> int:
        """Put a node and all below it; its place."""
        pending = [root]
        while pending:
            node = pending[-1]
            missing = [child for child in node.children.values() if id(child) not in self._places]
            if missing and id(node) not in self._places:
                pending.extend(missing)
                continue
            pending.pop()
            if id(node) not in self._places:
                self._places[id(node)] = len(self._rows)
                children = {name: self._places[id(child)] for name, child in node.children.items()}
                self._rows.append((node.value, tuple(node.permissions.entries()), node.generation, children))
        return self._places[id(root)]


def nodes_of(rows: Sequence[NodeRow]) -> list[Node]:
    """The nodes of a table, in its order."""
    nodes: list[Node] = []
    for value, entries, generation, children in rows:
        below = {name: nodes[place] for name, place in children.items()} or NO_CHILDREN
        nodes.append(Node(value, permissions_of(entries), below, generation))
    return nodes


def permissions_of(entries: Sequence[str]) -> Permissions:
    """Permissions as the protocol writes them."""
    return Permissions.parse([entry.encode("ascii") for entry in entries])
